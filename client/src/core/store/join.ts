import { integer, text, type Sqlite } from '../../sqlite/sqlite.ts'
import type { SqlValue } from '../../types.ts'

interface Op {
  seq: number
  op: string
  row: string
  data: string | null
  old: string | null
}

/**
 * Makes one op of a put or patch and the patch of the same row that follows it, in a transaction that was not sent.
 * Only when nothing is between them: what a statement did to another row in between may be what makes the later one
 * possible.
 */
export function joinOps(db: Sqlite, tx: number): void {
  let last: Op | null = null
  for (const values of db
    .prepare('SELECT seq, op, type, row_id, data, old FROM rp_outbox WHERE tx = ? ORDER BY seq')
    .all([tx])) {
    const next = opOf(values)
    if (last === null || last.row !== next.row || last.op === 'delete' || next.op !== 'patch') {
      last = next
      continue
    }
    last.data = merged(db, last.data, next.data)
    // What was there before both is what was there before the first that changed it. A put has none.
    if (last.op === 'patch') last.old = last.old === null ? null : merged(db, next.old, last.old)
    db.prepare('UPDATE rp_outbox SET data = ?, old = ? WHERE seq = ?').run([last.data, last.old, last.seq])
    db.prepare('DELETE FROM rp_outbox WHERE seq = ?').run([next.seq])
  }
}

const opOf = ([seq, op, type, id, data, old]: readonly SqlValue[]): Op => ({
  seq: integer(seq),
  op: text(op),
  row: `${String(type)} ${String(id)}`,
  data: typeof data === 'string' ? data : null,
  old: typeof old === 'string' ? old : null,
})

/** The first object with the members of the second, inside SQLite: JSON.parse would round an integer beyond 2^53. */
function merged(db: Sqlite, first: string | null, second: string | null): string | null {
  if (first === null || second === null) return first ?? second
  const keys = db.prepare('SELECT key FROM json_each(?)').all([second]).flat()
  return keys.reduce<string>((json, key) => {
    const path = `$."${text(key)}"`
    return text(db.prepare('SELECT json_set(?1, ?2, json(?3 -> ?2))').all([json, path, second])[0]?.[0])
  }, first)
}
