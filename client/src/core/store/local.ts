import { integer, text, type Sqlite } from '../../sqlite/sqlite.ts'
import { markIdle, markTransaction } from './derive.ts'
import { get } from './layout.ts'

/** From here to `endWrite` the changes of the app's tables are captured. The caller holds a SQLite transaction. Answers the number of the transaction. */
export function beginWrite(db: Sqlite, id: string, now: number): number {
  db.prepare("INSERT INTO rp_tx (id, state, made_at) VALUES (?, 'pending', ?)").run([id, now])
  const seq = integer(db.prepare('SELECT seq FROM rp_tx WHERE id = ?').all([id])[0]?.[0])
  db.prepare('INSERT INTO rp_capture VALUES (?)').run([seq])
  return seq
}

/** Answers the names of the tables that changed; a transaction that changed nothing is forgotten. */
export function endWrite(db: Sqlite, seq: number): Set<string> {
  db.exec('DELETE FROM rp_capture')
  const names = db.prepare('SELECT DISTINCT t.name FROM rp_outbox o JOIN rp_types t ON t.id = o.type WHERE o.tx = ?').all([seq])
  if (names.length === 0) db.prepare('DELETE FROM rp_tx WHERE seq = ?').run([seq])
  return new Set(names.map(([name]) => text(name)))
}

/** The server has stored the transaction, and its effect comes with this write checkpoint. */
export function accept(db: Sqlite, seq: number, target: number): void {
  db.prepare("UPDATE rp_tx SET state = 'accepted', target = ? WHERE seq = ?").run([target, seq])
}

/** What the applied checkpoint contains need not be shown on top of it any more. The caller derives the marked rows. */
export function confirmWrites(db: Sqlite): void {
  const reached = Number(get(db, 'write_checkpoint') ?? 0)
  const done = db.prepare("SELECT seq FROM rp_tx WHERE state = 'accepted' AND target <= ?").all([reached])
  for (const [seq] of done) forget(db, integer(seq))
}

/** Forgets the transaction, confirmed or rolled back. The caller derives the marked rows. */
export function forget(db: Sqlite, seq: number): void {
  markTransaction(db, seq)
  db.prepare('DELETE FROM rp_outbox WHERE tx = ?').run([seq])
  db.prepare('DELETE FROM rp_tx WHERE seq = ?').run([seq])
  if (db.prepare('SELECT 1 FROM rp_outbox LIMIT 1').all().length === 0) markIdle(db)
}
