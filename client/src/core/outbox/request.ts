import { integer, text, type Sqlite } from '../../sqlite/sqlite.ts'
import { get, put } from '../store/layout.ts'
import { opsText } from '../store/ops.ts'

/** A request has no more of both; a larger transaction goes alone. */
export const MAX_TRANSACTIONS = 100
export const MAX_REQUEST_BYTES = 256 * 1024

export interface UploadRequest {
  body: string
  /** Of its transactions, in order. */
  ids: string[]
}

/** Names this local database towards the server; made once. */
export function clientId(db: Sqlite): string {
  const known = get(db, 'client_id')
  if (typeof known === 'string') return known
  const id = crypto.randomUUID()
  put(db, 'client_id', id)
  return id
}

/** What was before it is not counted: numbers begin anew with a new client id. */
export const seqBase = (db: Sqlite): number => Number(get(db, 'seq_base') ?? 0)

/**
 * The next request, or null when nothing waits. Its transactions are marked as sent: from here on they do not change.
 * The caller flushes the file before it sends the request, because what `answered` covers is forgotten by the server.
 * `limit`: of transactions. `hello`: a request without transactions is made too, when there are failed writes.
 */
export function nextRequest(db: Sqlite, options: { limit: number; hello: boolean }): UploadRequest | null {
  return db.transaction(() => {
    const base = seqBase(db)
    const waiting = db
      .prepare("SELECT seq, id, made_at, retry_of FROM rp_tx WHERE state <> 'accepted' ORDER BY seq LIMIT ?")
      .all([Math.min(options.limit, MAX_TRANSACTIONS)])
    const texts: string[] = []
    const ids: string[] = []
    let bytes = 0
    for (const [seq, id, madeAt, retryOf] of waiting) {
      const head = {
        id: text(id),
        seq: integer(seq) - base,
        made_at: new Date(integer(madeAt)).toISOString(),
        ...(retryOf === null ? {} : { retry_of: text(retryOf) }),
      }
      const each = `${JSON.stringify(head).slice(0, -1)},"ops":${opsText(db, integer(seq))}}`
      bytes += new TextEncoder().encode(each).length + 1
      if (texts.length > 0 && bytes > MAX_REQUEST_BYTES) break
      texts.push(each)
      ids.push(text(id))
      db.prepare("UPDATE rp_tx SET state = 'sent' WHERE seq = ? AND state = 'pending'").run([integer(seq)])
    }
    if (texts.length === 0 && !(options.hello && hasFailed(db))) return null
    const body = `{"client_id":${JSON.stringify(clientId(db))},"answered":${answered(db, base)},"transactions":[${texts.join(',')}]}`
    return { body, ids }
  })
}

/**
 * Every transaction up to it has a decision that is stored. Numbers that were never sent, as of a write that changed
 * nothing, do not count by themselves: a server that has never heard of a client would take it for one that it has
 * forgotten.
 */
function answered(db: Sqlite, base: number): number {
  const [first] = db.prepare("SELECT seq FROM rp_tx WHERE state <> 'accepted' ORDER BY seq LIMIT 1").all()
  const decided = Number(get(db, 'decided') ?? 0)
  return Math.max(0, (first ? Math.min(decided, integer(first[0]) - 1) : decided) - base)
}

/**
 * A decision about a transaction is stored. One of our own counts only after one of the server: before, it has never
 * heard of this client.
 */
export function noteDecision(db: Sqlite, seq: number, isServers: boolean): void {
  const decided = Number(get(db, 'decided') ?? 0)
  if (seq > decided && (isServers || decided > seqBase(db))) put(db, 'decided', seq)
}

/** Of the newest transaction that there ever was. */
export function lastNumber(db: Sqlite): number {
  const [last] = db.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'rp_tx'").all()
  return Number(last?.[0] ?? 0)
}

export const hasFailed = (db: Sqlite): boolean =>
  db.prepare('SELECT 1 FROM rp_failed WHERE next IS NULL LIMIT 1').all().length > 0
