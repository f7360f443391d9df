import { RockpoolError } from '../../protocol/errors.ts'

/**
 * The part of SQLite that the storage modules need: a Durable Object's `ctx.storage`, or node:sqlite in tests.
 * Everything is synchronous.
 */
export interface Database {
  all(sql: string, ...params: SqlParam[]): SqlRow[]
  run(sql: string, ...params: SqlParam[]): void
  /** Does all of `work` or nothing. When `work` throws, it is undone and the error is thrown again. */
  transaction<T>(work: () => T): T
}

export type SqlParam = string | number | null
export type SqlRow = Record<string, string | number | null | ArrayBuffer>

/**
 * `breaks`: code that does not know this step must not open the storage any more. Such a step comes one release after
 * the code that reads the new form, which adds a step as well, even one that changes nothing: code that knows the same
 * number of steps cannot be told apart.
 */
export type Step = string | { sql: string; breaks: true }

/**
 * Runs the steps that have not run yet, each once. The list is append-only: a released step never changes. Each step is
 * stored with the number of steps that code must know to open the storage (`reads`). Throws ROCKPOOL_STORAGE_NEWER,
 * before anything is written, when that number is higher than `steps.length`: this is older code, after a rollback.
 * Returns how many steps had run before; 0 means that the storage is new.
 */
export function migrate(db: Database, steps: readonly Step[]): number {
  const made = db.all("SELECT sql FROM sqlite_master WHERE name = 'migrations'")[0]?.sql
  // Storage from before the column `reads` existed.
  const refuses = made === undefined || String(made).includes('reads')
  if (made === undefined)
    db.run('CREATE TABLE migrations (version INTEGER PRIMARY KEY, reads INTEGER NOT NULL DEFAULT 0)')
  const reads = refuses ? highest(db, 'reads') : 0
  if (reads > steps.length) {
    const reason = `the stored data needs code that knows ${reads} migration steps, and this code knows ${steps.length}`
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
