import { RockpoolError } from '../../protocol/errors.ts'

/** What the storage modules need of SQLite: a Durable Object's `ctx.storage`, or node:sqlite in tests. Everything is synchronous. */
export interface Database {
  all(sql: string, ...params: SqlParam[]): SqlRow[]
  run(sql: string, ...params: SqlParam[]): void
  /** All or nothing, also when `work` throws. */
  transaction<T>(work: () => T): T
}

export type SqlParam = string | number | null
export type SqlRow = Record<string, string | number | null | ArrayBuffer>

/** `breaks`: code without this step must not open the storage from here on. (It is to stand in a release after the one that reads the new form.) */
export type Step = string | { sql: string; breaks: true }

/**
 * Runs the steps that have not run yet, each once. Append-only: a released step never changes. Beside each step stands how many of them code must know to open the
 * storage (`reads`). Throws ROCKPOOL_STORAGE_NEWER, before anything is written, when that is more than `steps`: this is older code, after a rollback.
 * Answers how many had run before, 0: the storage is new.
 */
export function migrate(db: Database, steps: readonly Step[]): number {
  const made = db.all("SELECT sql FROM sqlite_master WHERE name = 'migrations'")[0]?.sql
  // Storage of before there were refusals.
  const refuses = made === undefined || String(made).includes('reads')
  if (made === undefined) db.run('CREATE TABLE migrations (version INTEGER PRIMARY KEY, reads INTEGER NOT NULL DEFAULT 0)')
  const reads = refuses ? highest(db, 'reads') : 0
  if (reads > steps.length) {
    const reason = `what is stored needs code that knows ${reads} steps of its form, and this code knows ${steps.length}`
    throw new RockpoolError('ROCKPOOL_STORAGE_NEWER', `${reason}: deploy the newer release again`)
  }
  const done = highest(db, 'version')
  if (!refuses && done < steps.length) db.run('ALTER TABLE migrations ADD COLUMN reads INTEGER NOT NULL DEFAULT 0')
  for (const [i, step] of steps.entries()) {
    if (i < done) continue
    const { sql, breaks } = typeof step === 'string' ? { sql: step, breaks: false } : step
    db.transaction(() => {
      db.run(sql)
      db.run('INSERT INTO migrations (version, reads) VALUES (?, ?)', i + 1, breaks ? i + 1 : 0)
    })
  }
  return done
}

const highest = (db: Database, column: 'version' | 'reads'): number =>
  Number(db.all(`SELECT coalesce(max(${column}), 0) AS n FROM migrations`)[0]?.n ?? 0)
