import type { FailedWrite, Schema, SyncProblem, UploadTransaction } from '../types.ts'
import { opsOfText, opsText, storedOps, uploadOps } from './ops.ts'
import { deriveRows } from './rows.ts'
import { integer, text, transaction, type Sqlite } from './sqlite.ts'
import { clientId, getText, put } from './storage.ts'

/** The fates of so many requests are known, counted back from the newest transaction. */
const KNOWN_REQUESTS = 1_000

/**
 * From here to `endWrite` the changes of the app's tables are captured. The caller holds a SQLite transaction.
 * `request`: the name by which its fate is asked for later (`wasStored`).
 */
export function beginWrite(db: Sqlite, request: string | null = null): number {
  db.run("INSERT INTO rp_tx (state, request) VALUES ('pending', ?)", [request])
  const tx = integer(db.all('SELECT last_insert_rowid() AS id')[0]?.id)
  db.run('INSERT INTO rp_capture VALUES (?)', [tx])
  return tx
}

/** Answers the tables that changed; a transaction that changed nothing is forgotten. */
export function endWrite(db: Sqlite, tx: number): Set<string> {
  db.run('DELETE FROM rp_capture')
  const tables = db.all('SELECT DISTINCT type FROM rp_outbox WHERE tx = ?', [tx]).map((row) => text(row.type))
  if (tables.length === 0) forgetTransaction(db, tx)
  return new Set(tables)
}

/** Whether the transaction of this request was committed, also when the server has confirmed it meanwhile. */
export function wasStored(db: Sqlite, request: string): boolean {
  return (
    db.all('SELECT 1 FROM rp_tx WHERE request = ?', [request]).length > 0 || getText(db, requestKey(request)) !== null
  )
}

/** The oldest transaction that the server has not accepted. `body`: the same as JSON, with every integer exact. */
export function nextUpload(db: Sqlite): { transaction: UploadTransaction; body: string } | null {
  const row = db.all("SELECT id FROM rp_tx WHERE state = 'pending' ORDER BY id LIMIT 1")[0]
  if (!row) return null
  const id = integer(row.id)
  const client = clientId(db)
  const ops = storedOps(db, id)
  return {
    transaction: { client_id: client, transaction_id: id, ops: uploadOps(db, ops) },
    body: `{"client_id":${JSON.stringify(client)},"transaction_id":${id},"ops":${opsText(ops)}}`,
  }
}

export function accepted(db: Sqlite, tx: number): void {
  db.run("UPDATE rp_tx SET state = 'accepted' WHERE id = ?", [tx])
}

/** Rolls the transaction back and keeps it among the failed writes. Answers the tables that changed. */
export function rejected(db: Sqlite, schema: Schema, tx: number, error: SyncProblem): Set<string> {
  return transaction(db, () => {
    db.run('INSERT INTO rp_failed VALUES (?, ?, ?, ?, ?)', [
      tx,
      Date.now(),
      error.code,
      error.message,
      opsText(storedOps(db, tx)),
    ])
    forget(db, tx)
    return deriveRows(db, schema)
  })
}

/** The last accepted transaction of which no write checkpoint is known yet. */
export function unconfirmedUpTo(db: Sqlite): number | null {
  const row = db.all("SELECT max(id) AS id FROM rp_tx WHERE state = 'accepted' AND target IS NULL")[0]
  return typeof row?.id === 'number' ? row.id : null
}

/**
 * The write checkpoint that was made when transactions up to `tx` had been accepted. Answers the tables that changed.
 */
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
    const ops = uploadOps(db, opsOfText(db, text(row.ops)))
    const error = { code: text(row.code), message: text(row.message) }
    return { transactionId: integer(row.tx), failedAt: integer(row.failed_at), error, ops }
  })
}

export function dismissFailed(db: Sqlite, tx: number | undefined): void {
  if (tx === undefined) db.run('DELETE FROM rp_failed')
  else db.run('DELETE FROM rp_failed WHERE tx = ?', [tx])
}

/** Makes a new transaction of a failed one, at the end of the queue. Answers the tables that changed. */
export function retryFailed(db: Sqlite, schema: Schema, tx: number): Set<string> {
  return transaction(db, () => {
    const failed = db.all('SELECT ops FROM rp_failed WHERE tx = ?', [tx])[0]
    if (!failed) return new Set<string>()
    db.run("INSERT INTO rp_tx (state) VALUES ('pending')")
    const again = integer(db.all('SELECT last_insert_rowid() AS id')[0]?.id)
    for (const { op, table, id, data } of opsOfText(db, text(failed.ops))) {
      db.run('INSERT INTO rp_outbox (tx, op, type, row_id, data) VALUES (?, ?, ?, ?, ?)', [again, op, table, id, data])
      db.run('INSERT OR IGNORE INTO rp_dirty VALUES (?, ?)', [table, id])
    }
    dismissFailed(db, tx)
    return deriveRows(db, schema)
  })
}

function forget(db: Sqlite, tx: number): void {
  db.run('INSERT OR IGNORE INTO rp_dirty SELECT type, row_id FROM rp_outbox WHERE tx = ?', [tx])
  db.run('DELETE FROM rp_outbox WHERE tx = ?', [tx])
  forgetTransaction(db, tx)
}

const requestKey = (request: string): string => `request:${request}`

/** A tab may still ask what became of it, so its name outlives it for a while. */
function forgetTransaction(db: Sqlite, tx: number): void {
  const request = db.all('SELECT request FROM rp_tx WHERE id = ?', [tx])[0]?.request
  db.run('DELETE FROM rp_tx WHERE id = ?', [tx])
  if (typeof request !== 'string') return
  put(db, requestKey(request), String(tx))
  db.run("DELETE FROM rp_kv WHERE key > 'request:' AND key < 'request;' AND CAST(value AS INTEGER) <= ?", [
    tx - KNOWN_REQUESTS,
  ])
}
