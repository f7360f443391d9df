import { DatabaseSync, type StatementSync } from 'node:sqlite'
import type { Database, SqlRow } from './shared/database.ts'

/** node:sqlite in memory behind the objects' storage interface, and how many statements wrote. */
export function testDatabase(): Database & { plan(sql: string): string } {
  const db = new DatabaseSync(':memory:')
  const prepared = new Map<string, StatementSync>()
  const prepare = (sql: string): StatementSync => {
    const statement = prepared.get(sql) ?? db.prepare(sql)
    prepared.set(sql, statement)
    return statement
  }
  const all = (sql: string, ...params: (string | number | null)[]): SqlRow[] =>
    prepare(sql)
      .all(...params)
      .map((row) => {
        if (!isPlain(row)) throw new Error('only texts, numbers and nulls are stored')
        return row
      })
  return {
    all,
    run(sql, ...params) {
      if (params.length === 0) db.exec(sql)
      else prepare(sql).run(...params)
    },
    transaction(work) {
      prepare('SAVEPOINT t').run()
      try {
        const result = work()
        prepare('RELEASE t').run()
        return result
      } catch (error) {
        db.exec('ROLLBACK TO t; RELEASE t')
        throw error
      }
    },
    plan: (sql) =>
      all(`EXPLAIN QUERY PLAN ${sql}`, ...Array.from({ length: sql.split('?').length - 1 }, () => 0))
        .map((row) => String(row.detail))
        // A list that was bound is no table.
        .filter((detail) => !detail.startsWith('SCAN json_each '))
        .join('; '),
  }
}

function isPlain(row: Record<string, unknown>): row is Record<string, string | number | null> {
  for (const name in row) {
    const value = row[name]
    if (typeof value !== 'string' && typeof value !== 'number' && value !== null) return false
  }
  return true
}
