import { text, type Sqlite } from '../../sqlite/sqlite.ts'
import type { SqlValue } from '../../types.ts'
import { hash } from './hash.ts'

/** One op as it is stored: `data` and `old` are JSON text. */
export interface StoredOp {
  op: 'put' | 'patch' | 'delete'
  table: string
  id: string
  data: string | null
  old: string | null
}

/** The ops of a transaction as a JSON array. */
export function opsText(db: Sqlite, tx: number): string {
  const ops = db
    .prepare(
      'SELECT o.op, t.name, o.row_id, o.data, o.old FROM rp_outbox o JOIN rp_types t ON t.id = o.type WHERE o.tx = ? ORDER BY o.seq',
    )
    .all([tx])
  return opsJson(ops.map(([op, table, id, data, old]) => storedOp([op, table, id, data, old])))
}

/** With their data unparsed: a number of JavaScript would round an integer beyond 2^53. */
export function opsJson(ops: readonly StoredOp[]): string {
  const each = ops.map(({ op, table, id, data, old }) => {
    const members = [`"op":${JSON.stringify(op)}`, `"table":${JSON.stringify(table)}`, `"id":${JSON.stringify(id)}`]
    if (data !== null) members.push(`"data":${data}`)
    if (old !== null) members.push(`"old":${old}`)
    return `{${members.join(',')}}`
  })
  return `[${each.join(',')}]`
}

/** From values in the order of its members. */
export function storedOp([op, table, id, data, old]: readonly (SqlValue | undefined)[]): StoredOp {
  if (op !== 'put' && op !== 'patch' && op !== 'delete') throw new Error(`Not an op: ${String(op)}`)
  return {
    op,
    table: text(table),
    id: text(id),
    data: typeof data === 'string' ? data : null,
    old: typeof old === 'string' ? old : null,
  }
}

export const proofOf = (id: string, ops: string): number => hash(`${id} ${ops}`)

/** Its ops are all there. */
export function seal(db: Sqlite, tx: number): void {
  const [row] = db.prepare('SELECT id FROM rp_tx WHERE seq = ?').all([tx])
  db.prepare('UPDATE rp_tx SET proof = ? WHERE seq = ?').run([proofOf(text(row?.[0]), opsText(db, tx)), tx])
}
