import { integer, text, type Sqlite } from '../../sqlite/sqlite.ts'
import { markIdle, markTransaction } from './derive.ts'
import { beginFate, confirmFate } from './fates.ts'
import { joinOps } from './join.ts'
import { get } from './layout.ts'
import { seal } from './ops.ts'
import { ProblemError } from '../problem.ts'

/** So much may be in one transaction: what is larger would block the queue, or be refused by every backend. */
export const MAX_OPS = 1_000
export const MAX_BYTES = 1 << 20

/**
 * From here to `endWrite` the changes of the app's tables are captured. The caller holds a SQLite transaction. Answers
 * the number of the transaction.
 */
export function beginWrite(db: Sqlite, id: string, now: number): number {
  db.prepare("INSERT INTO rp_tx (id, state, made_at) VALUES (?, 'pending', ?)").run([id, now])
  const seq = integer(db.prepare('SELECT seq FROM rp_tx WHERE id = ?').all([id])[0]?.[0])
  db.prepare('INSERT INTO rp_capture VALUES (?)').run([seq])
  return seq
}

/**
 * Answers the names of the tables that changed. Of a transaction of which nothing is uploaded only its fate is kept,
 * under the name `call`, with `value` as the answer of a repeat. Throws ProblemError `too_large`, and the caller rolls
 * back, when it could never be uploaded.
 */
export function endWrite(
  db: Sqlite,
  seq: number,
  call: string | null = null,
  value: readonly number[] | null = null,
): Set<string> {
  db.exec('DELETE FROM rp_capture')
  const names = db
    .prepare('SELECT DISTINCT t.name FROM rp_outbox o JOIN rp_types t ON t.id = o.type WHERE o.tx = ?')
    .all([seq])
  db.prepare("DELETE FROM rp_outbox WHERE tx = ? AND op = 'local'").run([seq])
  const isUploaded = db.prepare('SELECT 1 FROM rp_outbox WHERE tx = ? LIMIT 1').all([seq]).length > 0
  joinOps(db, seq)
  checkSize(db, seq)
  seal(db, seq)
  const [id, now] = db.prepare('SELECT id, made_at FROM rp_tx WHERE seq = ?').all([seq])[0] ?? []
  beginFate(db, { id: text(id), call, value, now: integer(now) }, !isUploaded)
  if (!isUploaded) db.prepare('DELETE FROM rp_tx WHERE seq = ?').run([seq])
  return new Set(names.map(([name]) => text(name)))
}

function checkSize(db: Sqlite, seq: number): void {
  const [count, bytes] =
    db
      .prepare(
        'SELECT count(*), coalesce(sum(octet_length(data) + coalesce(octet_length(old), 0) + octet_length(row_id)), 0) FROM rp_outbox WHERE tx = ?',
      )
      .all([seq])[0] ?? []
  if (integer(count) > MAX_OPS)
    throw new ProblemError(
      'too_large',
      `one write changes ${count} rows, and at most ${MAX_OPS} can be uploaded together`,
    )
  if (integer(bytes) > MAX_BYTES)
    throw new ProblemError(
      'too_large',
      `one write has ${bytes} bytes, and at most ${MAX_BYTES} can be uploaded together`,
    )
}

/**
 * The server has stored the transaction, and its effect comes with this write checkpoint; null: its number is not known
 * yet.
 */
export function accept(db: Sqlite, seq: number, target: number | null): void {
  db.prepare("UPDATE rp_tx SET state = 'accepted', target = ? WHERE seq = ?").run([target, seq])
}

/** What the applied checkpoint contains need not be shown on top of it any more. The caller derives the marked rows. */
export function confirmWrites(db: Sqlite): void {
  const reached = Number(get(db, 'write_checkpoint') ?? 0)
  const done = db.prepare("SELECT seq, id FROM rp_tx WHERE state = 'accepted' AND target <= ?").all([reached])
  for (const [seq, id] of done) {
    confirmFate(db, text(id))
    forget(db, integer(seq))
  }
}

/** Forgets the transaction, confirmed or rolled back. The caller derives the marked rows. */
export function forget(db: Sqlite, seq: number): void {
  markTransaction(db, seq)
  db.prepare('DELETE FROM rp_outbox WHERE tx = ?').run([seq])
  db.prepare('DELETE FROM rp_tx WHERE seq = ?').run([seq])
  if (db.prepare('SELECT 1 FROM rp_outbox LIMIT 1').all().length === 0) markIdle(db)
}
