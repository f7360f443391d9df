/** What the storage modules need of SQLite: a Durable Object's `ctx.storage`, or node:sqlite in tests. Everything is synchronous. */
export interface Database {
  all(sql: string, ...params: SqlParam[]): SqlRow[]
  run(sql: string, ...params: SqlParam[]): void
  /** All or nothing, also when `work` throws. */
  transaction<T>(work: () => T): T
}

export type SqlParam = string | number | null
export type SqlRow = Record<string, string | number | null | ArrayBuffer>

/** Runs the steps that have not run yet, each once. Append-only: a released step never changes. */
export function migrate(db: Database, steps: readonly string[]): void {
  db.run('CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY)')
  const done = Number(db.all('SELECT coalesce(max(version), 0) AS version FROM migrations')[0]?.version ?? 0)
  for (const [i, step] of steps.entries()) {
    if (i < done) continue
    db.transaction(() => {
      db.run(step)
      db.run('INSERT INTO migrations VALUES (?)', i + 1)
    })
  }
}
