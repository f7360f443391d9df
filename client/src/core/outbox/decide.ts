import { integer, text, type Sqlite } from '../../sqlite/sqlite.ts'
import { acceptFate, pruneFates, renameFate } from '../store/fates.ts'
import { deriveRows } from '../store/derive.ts'
import { put } from '../store/layout.ts'
import { confirmWrites } from '../store/local.ts'
import { seal } from '../store/ops.ts'
import type { StoredTable } from '../store/tables.ts'
import type { Decided } from './answer.ts'
import { fail, retry, succeeded } from './failed.ts'
import { lastNumber, noteDecision } from './request.ts'
import { uuid7 } from './uuid.ts'

// What a decision of the server changes in the queue. All of one answer is stored in one SQLite transaction: either it
// was never here, and the server answers the same again, or it is whole.

type Tables = ReadonlyMap<string, StoredTable>

export interface Stored {
  /** Names of tables of which rows have changed. */
  changed: Set<string>
  /** Ids of transactions that are among the failed ones now. */
  failed: string[]
  /** Seconds until the rest is sent again; null: at once. */
  after: number | null
  /** Why, in the server's words: a code. */
  reason: string | null
  /** How many transactions were accepted or rejected. */
  decisions: number
  /** The client has another id from now on: what is unsent is new to the server. */
  reset: boolean
}

interface Waiting {
  seq: number
  id: string
}

interface Rejected extends Waiting {
  rows: Set<string>
  /** The rejected one on which it builds, or itself. */
  root: string
}

/** `body`: the answer as it came, for what is kept of it unparsed. */
export function storeAnswer(db: Sqlite, tables: Tables, answer: Decided, body: string, now: number): Stored {
  return db.transaction(() => {
    const stored: Stored = { changed: new Set(), failed: [], after: null, reason: null, decisions: 0, reset: false }
    const rejected: Rejected[] = []
    let last = 0
    for (const [n, verdict] of answer.verdicts.entries()) {
      const [seq] = db.prepare("SELECT seq FROM rp_tx WHERE id = ? AND state = 'sent'").all([verdict.id])[0] ?? []
      if (seq === undefined) continue
      const one = { seq: integer(seq), id: verdict.id }
      if (verdict.result === 'accepted') {
        accept(db, one)
        last = one.seq
      } else if (verdict.result === 'rejected') {
        const { code, message, field } = verdict
        const rows = rowsOf(db, one.seq)
        // Only the server has said so, and which one it means is seen from the rows.
        const dependsOn = code === 'depends_on' ? (rejected.find((each) => meet(each.rows, rows))?.root ?? null) : null
        rejected.push({ ...one, rows, root: dependsOn ?? one.id })
        fail(db, one, { code, message, field, current: currentOf(db, body, n), dependsOn, isServers: true }, now)
        stored.failed.push(one.id)
      } else if (verdict.result === 'retry') {
        stored.after = verdict.after
        stored.reason = verdict.code
      } else {
        stored.reset = true
      }
      if (verdict.result === 'accepted' || verdict.result === 'rejected') stored.decisions++
    }
    for (const each of rejected) stored.failed.push(...failDependents(db, each, now))
    if (stored.reset) resetClient(db, now)
    if (last > 0) setTargets(db, last, answer.writeCheckpoint)
    confirmWrites(db)
    for (const id of answer.reopen) retry(db, tables, id, now)
    pruneFates(db, now)
    stored.changed = deriveRows(db, tables)
    return stored
  })
}

/** The client's own decision: a single transaction that the server finds too large again and again. */
export function storeTooLarge(db: Sqlite, tables: Tables, id: string, now: number): Stored {
  return db.transaction(() => {
    const stored: Stored = { changed: new Set(), failed: [], after: null, reason: null, decisions: 0, reset: false }
    const [seq] = db.prepare("SELECT seq FROM rp_tx WHERE id = ? AND state = 'sent'").all([id])[0] ?? []
    if (seq === undefined) return stored
    const one = { seq: integer(seq), id }
    const rows = rowsOf(db, one.seq)
    fail(db, one, { code: 'too_large', message: 'the server takes no request of this size' }, now)
    stored.failed = [id, ...failDependents(db, { ...one, rows, root: id }, now)]
    stored.decisions = 1
    stored.changed = deriveRows(db, tables)
    return stored
  })
}

/** The last accepted transaction of which no write checkpoint is known; null: there is none. */
export function unconfirmedUpTo(db: Sqlite): number | null {
  const [row] = db.prepare("SELECT max(seq) FROM rp_tx WHERE state = 'accepted' AND target IS NULL").all()
  return typeof row?.[0] === 'number' ? row[0] : null
}

/**
 * The write checkpoint that was made after everything up to `seq` had been accepted. Answers the names of the tables
 * that changed.
 */
export function storeCheckpoint(db: Sqlite, tables: Tables, seq: number, target: number): Set<string> {
  return db.transaction(() => {
    setTargets(db, seq, target)
    confirmWrites(db)
    return deriveRows(db, tables)
  })
}

function setTargets(db: Sqlite, seq: number, target: number | null): void {
  if (target === null) return
  db.prepare("UPDATE rp_tx SET target = ? WHERE state = 'accepted' AND target IS NULL AND seq <= ?").run([target, seq])
}

function accept(db: Sqlite, { seq, id }: Waiting): void {
  db.prepare("UPDATE rp_tx SET state = 'accepted' WHERE seq = ?").run([seq])
  noteDecision(db, seq, true)
  acceptFate(db, id)
  succeeded(db, id)
}

/**
 * What waits behind a rejected transaction and touches one of its rows builds on what is gone, and so does what builds
 * on that. Answers their ids.
 */
function failDependents(db: Sqlite, { seq, rows, root }: Rejected, now: number): string[] {
  const failed: string[] = []
  const gone = new Set(rows)
  const behind = db.prepare("SELECT seq, id FROM rp_tx WHERE state <> 'accepted' AND seq > ? ORDER BY seq").all([seq])
  for (const [of, tx] of behind) {
    const own = rowsOf(db, integer(of))
    if (!meet(own, gone)) continue
    for (const row of own) gone.add(row)
    fail(
      db,
      { seq: integer(of), id: text(tx) },
      { code: 'depends_on', message: `it builds on ${root}, which was rejected`, dependsOn: root },
      now,
    )
    failed.push(text(tx))
  }
  return failed
}

const meet = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean => [...a].some((row) => b.has(row))

const rowsOf = (db: Sqlite, seq: number): Set<string> =>
  new Set(
    db
      .prepare('SELECT DISTINCT type, row_id FROM rp_outbox WHERE tx = ?')
      .all([seq])
      .map(([type, id]) => `${String(type)} ${String(id)}`),
  )

/**
 * The server does not know this client any more, or knows more of it than it knows itself: a file that was put back.
 * What is unsent becomes new.
 */
function resetClient(db: Sqlite, now: number): void {
  const waiting = db.prepare("SELECT seq, id FROM rp_tx WHERE state <> 'accepted' ORDER BY seq").all()
  put(db, 'client_id', crypto.randomUUID())
  put(db, 'seq_base', waiting[0] ? integer(waiting[0][0]) - 1 : lastNumber(db))
  // The application hears of it before anything is sent.
  put(db, 'client_reset', now)
  for (const [seq, id] of waiting) {
    const next = uuid7(now)
    db.prepare("UPDATE rp_tx SET id = ?, state = 'pending', retry_of = NULL WHERE seq = ?").run([next, integer(seq)])
    seal(db, integer(seq))
    db.prepare('UPDATE rp_failed SET next = ? WHERE next = ?').run([next, text(id)])
    renameFate(db, text(id), next)
  }
}

/** The row of a conflict, as JSON text: JSON.parse would round an integer beyond 2^53. */
function currentOf(db: Sqlite, body: string, n: number): string | null {
  const value = db.prepare('SELECT ?1 -> ?2').all([body, `$.verdicts[${n}].current`])[0]?.[0]
  return typeof value === 'string' && value !== 'null' ? value : null
}
