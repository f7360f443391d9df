import type { Sqlite } from '../../sqlite/sqlite.ts'
import type { SqlValue } from '../../types.ts'

// What became of writes, for whoever asks later: a tab whose call was not answered, an application that has been loaded
// anew.

/** The newest are kept, whatever their age. */
export const KEPT_FATES = 1_000
/** Those that are decided are kept for so long. */
export const KEPT_MS = 7 * 24 * 3_600_000

export type Fate =
  | { result: 'pending' }
  | { result: 'accepted'; confirmed: boolean }
  /** `code` and `message` as in the failed list. */
  | { result: 'rejected'; code: string; message: string }

/**
 * `call`: how the caller names it; null: nobody will ask by a name. A write without an effect on the server is decided
 * at once.
 */
export function beginFate(
  db: Sqlite,
  { id, call, value = null, now }: { id: string; call: string | null; value?: readonly number[] | null; now: number },
  decided: boolean,
): void {
  db.prepare(
    'INSERT INTO rp_fates (id, tx, call, value, result, confirmed, at) VALUES (?1, ?1, ?2, ?3, ?4, ?5, ?6)',
  ).run([id, call, value === null ? null : JSON.stringify(value), decided ? 'accepted' : null, decided ? 1 : 0, now])
}

export function acceptFate(db: Sqlite, tx: string): void {
  db.prepare("UPDATE rp_fates SET result = 'accepted' WHERE tx = ?").run([tx])
}

export function confirmFate(db: Sqlite, tx: string): void {
  db.prepare("UPDATE rp_fates SET confirmed = 1 WHERE tx = ? AND result = 'accepted'").run([tx])
}

export function rejectFate(db: Sqlite, tx: string, code: string, message: string): void {
  db.prepare("UPDATE rp_fates SET result = 'rejected', code = ?2, message = ?3 WHERE tx = ?1").run([tx, code, message])
}

/** The transaction has another id from now on. */
export function renameFate(db: Sqlite, tx: string, next: string): void {
  db.prepare('UPDATE rp_fates SET tx = ? WHERE tx = ?').run([next, tx])
}

/** Forgets what is decided, old, and not among the newest. */
export function pruneFates(db: Sqlite, now: number): void {
  db.prepare(
    `DELETE FROM rp_fates WHERE at < ? AND (confirmed = 1 OR result = 'rejected')
      AND rowid <= (SELECT max(rowid) FROM rp_fates) - ${KEPT_FATES}`,
  ).run([now - KEPT_MS])
}

/** By the id that the application was given; null: never stored, or forgotten. */
export function fateOf(db: Sqlite, id: string): Fate | null {
  const [row] = db.prepare('SELECT result, code, message, confirmed FROM rp_fates WHERE id = ?').all([id])
  return row ? read(row) : null
}

/** By the name of the call, with what it was answered; null: nothing was stored under it. */
export function fateOfCall(db: Sqlite, call: string): { id: string; value: number[] } | null {
  const [row] = db.prepare('SELECT id, value FROM rp_fates WHERE call = ?').all([call])
  if (!row) return null
  const value: unknown = typeof row[1] === 'string' ? JSON.parse(row[1]) : []
  return { id: row[0] as string, value: value as number[] }
}

function read([result, code, message, confirmed]: readonly SqlValue[]): Fate {
  if (result === 'accepted') return { result, confirmed: confirmed === 1 }
  if (result === 'rejected') return { result, code: code as string, message: message as string }
  return { result: 'pending' }
}
