import type { UploadOp } from '../types.ts'
import { text, type Sqlite } from './sqlite.ts'

/**
 * An op as it is stored. `data` is JSON text, and goes to the wire as it is: a number of JavaScript would round an
 * integer beyond 2^53.
 */
export interface StoredOp {
  op: string
  table: string
  id: string
  data: string | null
}

export function storedOps(db: Sqlite, tx: number): StoredOp[] {
  return db.all('SELECT op, type, row_id, data FROM rp_outbox WHERE tx = ? ORDER BY seq', [tx]).map((row) => ({
    op: text(row.op),
    table: text(row.type),
    id: text(row.row_id),
    data: row.data === null ? null : text(row.data),
  }))
}

/** The ops as a JSON array, with their data unparsed. */
export function opsText(ops: readonly StoredOp[]): string {
  const each = ({ op, table, id, data }: StoredOp): string =>
    `{"op":${JSON.stringify(op)},"table":${JSON.stringify(table)},"id":${JSON.stringify(id)},"data":${data ?? 'null'}}`
  return `[${ops.map(each).join(',')}]`
}

/** Reads what `opsText` wrote. */
export function opsOfText(db: Sqlite, json: string): StoredOp[] {
  const sql = `SELECT value ->> '$.op' AS op, value ->> '$.table' AS type, value ->> '$.id' AS id, value -> '$.data' AS data FROM json_each(?)`
  return db.all(sql, [json]).map((row) => ({
    op: text(row.op),
    table: text(row.type),
    id: text(row.id),
    data: row.op === 'delete' ? null : text(row.data),
  }))
}

/** For the application: integers beyond 2^53 are bigints. */
export function uploadOps(db: Sqlite, ops: readonly StoredOp[]): UploadOp[] {
  return ops.map(({ op, table, id, data }): UploadOp => {
    if (op === 'delete' || data === null) return { op: 'delete', table, id, data: null }
    return { op: op === 'put' ? 'put' : 'patch', table, id, data: exact(db, data) }
  })
}

function exact(db: Sqlite, json: string): Record<string, unknown> {
  const data: Record<string, unknown> = JSON.parse(json)
  if (!/\d{16}/.test(json)) return data
  // Not `value`: SQLite 3.51 makes a real of the smallest integer.
  for (const row of db.all("SELECT key, ?1 -> fullkey AS digits FROM json_each(?1) WHERE type = 'integer'", [json])) {
    const digits = text(row.digits)
    if (!Number.isSafeInteger(Number(digits))) data[text(row.key)] = BigInt(digits)
  }
  return data
}
