import type { FailedWrite, Schema, SyncProblem, UploadOp, UploadTransaction } from '../types.ts'
import { deriveRows } from './rows.ts'
import { integer, text, transaction, type Sqlite } from './sqlite.ts'
import { clientId, getText } from './storage.ts'

/** From here to `endWrite` the changes of the app's tables are captured. The caller holds a SQLite transaction. */
export function beginWrite(db: Sqlite): number {
  db.run("INSERT INTO rp_tx (state) VALUES ('pending')")
  const tx = integer(db.all('SELECT last_insert_rowid() AS id')[0]?.id)
  db.run('INSERT INTO rp_capture VALUES (?)', [tx])
  return tx
}

/** Answers the tables that changed; a transaction that changed nothing is forgotten. */
export function endWrite(db: Sqlite, tx: number): Set<string> {
  db.run('DELETE FROM rp_capture')
  const tables = db.all('SELECT DISTINCT type FROM rp_outbox WHERE tx = ?', [tx]).map((row) => text(row.type))
  if (tables.length === 0) db.run('DELETE FROM rp_tx WHERE id = ?', [tx])
  return new Set(tables)
}

/** The oldest transaction that the server has not accepted. */
export function nextUpload(db: Sqlite): UploadTransaction | null {
  const row = db.all("SELECT id FROM rp_tx WHERE state = 'pending' ORDER BY id LIMIT 1")[0]
  if (!row) return null
  return { client_id: clientId(db), transaction_id: integer(row.id), ops: opsOf(db, integer(row.id)) }
}

export function accepted(db: Sqlite, tx: number): void {
  db.run("UPDATE rp_tx SET state = 'accepted' WHERE id = ?", [tx])
}

/** Rolls the transaction back and keeps it among the failed writes. Answers the tables that changed. */
export function rejected(db: Sqlite, schema: Schema, tx: number, error: SyncProblem): Set<string> {
  return transaction(db, () => {
    db.run('INSERT INTO rp_failed VALUES (?, ?, ?, ?, ?)', [tx, Date.now(), error.code, error.message, JSON.stringify(opsOf(db, tx))])
    forget(db, tx)
    return deriveRows(db, schema)
  })
}

/** The last accepted transaction of which no write checkpoint is known yet. */
export function unconfirmedUpTo(db: Sqlite): number | null {
  const row = db.all("SELECT max(id) AS id FROM rp_tx WHERE state = 'accepted' AND target IS NULL")[0]
  return typeof row?.id === 'number' ? row.id : null
}

/** The write checkpoint that was made when transactions up to `tx` had been accepted. Answers the tables that changed. */
export function setTarget(db: Sqlite, schema: Schema, tx: number, target: number): Set<string> {
  return transaction(db, () => {
    db.run("UPDATE rp_tx SET target = ? WHERE state = 'accepted' AND target IS NULL AND id <= ?", [target, tx])
    confirmWrites(db)
    return deriveRows(db, schema)
  })
}

/** What the applied checkpoint contains need not be shown on top of it any more. The caller derives the rows. */
export function confirmWrites(db: Sqlite): void {
  const reached = Number(getText(db, 'write_checkpoint') ?? 0)
  const done = db.all("SELECT id FROM rp_tx WHERE state = 'accepted' AND target IS NOT NULL AND target <= ?", [reached])
  for (const row of done) forget(db, integer(row.id))
}

export function counts(db: Sqlite): { pending: number; unconfirmed: number; failed: number } {
  const row = db.all(`SELECT (SELECT count(*) FROM rp_tx WHERE state = 'pending') AS pending,
    (SELECT count(*) FROM rp_tx WHERE state = 'accepted') AS unconfirmed, (SELECT count(*) FROM rp_failed) AS failed`)[0]
  return { pending: integer(row?.pending), unconfirmed: integer(row?.unconfirmed), failed: integer(row?.failed) }
}

export function failedWrites(db: Sqlite): FailedWrite[] {
  return db.all('SELECT tx, failed_at, code, message, ops FROM rp_failed ORDER BY tx').map((row) => {
    const ops: UploadOp[] = JSON.parse(text(row.ops))
    const error = { code: text(row.code), message: text(row.message) }
    return { transactionId: integer(row.tx), failedAt: integer(row.failed_at), error, ops }
  })
}

export function dismissFailed(db: Sqlite, tx: number | undefined): void {
  if (tx === undefined) db.run('DELETE FROM rp_failed')
  else db.run('DELETE FROM rp_failed WHERE tx = ?', [tx])
}

function forget(db: Sqlite, tx: number): void {
  db.run('INSERT OR IGNORE INTO rp_dirty SELECT type, row_id FROM rp_outbox WHERE tx = ?', [tx])
  db.run('DELETE FROM rp_outbox WHERE tx = ?', [tx])
  db.run('DELETE FROM rp_tx WHERE id = ?', [tx])
}

function opsOf(db: Sqlite, tx: number): UploadOp[] {
  return db.all('SELECT op, type, row_id, data FROM rp_outbox WHERE tx = ? ORDER BY seq', [tx]).map((row): UploadOp => {
    const table = text(row.type)
    const id = text(row.row_id)
    if (row.op === 'delete') return { op: 'delete', table, id, data: null }
    const data: Record<string, unknown> = JSON.parse(text(row.data))
    return { op: row.op === 'put' ? 'put' : 'patch', table, id, data }
  })
}
