import { identifier, integer, text, type Sqlite } from '../../sqlite/sqlite.ts'
import type { SqlValue } from '../../types.ts'
import { ProblemError } from '../problem.ts'
import { coverRow } from '../store/cover.ts'
import { beginFate, rejectFate } from '../store/fates.ts'
import { typeOf } from '../store/layout.ts'
import { forget } from '../store/local.ts'
import { opsText, seal, storedOp, type StoredOp } from '../store/ops.ts'
import type { StoredTable } from '../store/tables.ts'
import { noteDecision } from './request.ts'
import { uuid7 } from './uuid.ts'

// Rejected transactions: rolled back, and kept until the application sends them again, changes them or forgets them.

type Tables = ReadonlyMap<string, StoredTable>

export interface FailedTransaction {
  id: string
  /** Milliseconds since 1970. */
  failedAt: number
  code: string
  message: string
  field: string | null
  /** The row as the server has it, as JSON text, for a conflict. */
  current: string | null
  /** The rejected one on which this one builds. */
  dependsOn: string | null
  ops: StoredOp[]
}

export interface Rejection {
  code: string
  message: string
  field?: string | null
  current?: string | null
  dependsOn?: string | null
  /** The server has said so. */
  isServers?: boolean
}

/** Rolls a transaction back and keeps its ops. The caller derives the marked rows. */
export function fail(db: Sqlite, { seq, id }: { seq: number; id: string }, why: Rejection, now: number): void {
  db.prepare(
    'INSERT INTO rp_failed (tx, seq, failed_at, code, message, field, current, ops, depends_on) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
  ).run([
    id,
    seq,
    now,
    why.code,
    why.message,
    why.field ?? null,
    why.current ?? null,
    opsText(db, seq),
    why.dependsOn ?? null,
  ])
  noteDecision(db, seq, why.isServers ?? false)
  succeeded(db, id)
  rejectFate(db, id, why.code, why.message)
  forget(db, seq)
}

/** The transaction is decided: what it took the place of is no longer kept. */
export function succeeded(db: Sqlite, id: string): void {
  db.prepare('DELETE FROM rp_failed WHERE next = ?').run([id])
}

/** Those that wait for the application, in the order in which they were made. */
export function failedTransactions(db: Sqlite): FailedTransaction[] {
  const rows = db
    .prepare(
      'SELECT tx, failed_at, code, message, field, current, depends_on, ops FROM rp_failed WHERE next IS NULL ORDER BY seq',
    )
    .all()
  return rows.map(([tx, failedAt, code, message, field, current, dependsOn, ops]) => ({
    id: text(tx),
    failedAt: integer(failedAt),
    code: text(code),
    message: text(message),
    field: textOrNull(field),
    current: textOrNull(current),
    dependsOn: textOrNull(dependsOn),
    ops: opsOf(db, text(ops)),
  }))
}

/**
 * Makes new transactions of a failed one and of all that build on it, at the end of the queue and in their old order.
 * Answers their ids by the old ones; none when it is not in the list. The caller holds a SQLite transaction, and
 * derives the marked rows.
 */
export function retry(db: Sqlite, tables: Tables, id: string, now: number): Map<string, string> {
  const ids = new Map<string, string>()
  if (!isOpen(db, id)) return ids
  const rows = db
    .prepare('SELECT tx, ops FROM rp_failed WHERE next IS NULL AND (tx = ?1 OR depends_on = ?1) ORDER BY seq')
    .all([id])
  for (const [tx, ops] of rows) ids.set(text(tx), again(db, tables, text(tx), opsOf(db, text(ops)), now))
  return ids
}

/**
 * Makes a new transaction with these ops in the place of a failed one. Answers its id; null when the failed one is not
 * in the list. Throws ProblemError `ops` when they cannot be ops of this schema. The caller holds a SQLite transaction,
 * and derives the marked rows.
 */
export function edit(db: Sqlite, tables: Tables, id: string, ops: readonly StoredOp[], now: number): string | null {
  if (!isOpen(db, id)) return null
  if (ops.length === 0) throw new ProblemError('ops', 'there is nothing to do: dismiss the failed write instead')
  for (const op of ops) check(db, tables, op)
  return again(db, tables, id, ops, now)
}

/** Forgets a failed transaction; null: all of them. */
export function dismiss(db: Sqlite, id: string | null): void {
  if (id === null) db.exec('DELETE FROM rp_failed WHERE next IS NULL')
  else db.prepare('DELETE FROM rp_failed WHERE tx = ? AND next IS NULL').run([id])
}

const isOpen = (db: Sqlite, id: string): boolean =>
  db.prepare('SELECT 1 FROM rp_failed WHERE tx = ? AND next IS NULL').all([id]).length > 0

function again(db: Sqlite, tables: Tables, failed: string, ops: readonly StoredOp[], now: number): string {
  const id = uuid7(now)
  db.prepare("INSERT INTO rp_tx (id, state, made_at, retry_of) VALUES (?, 'pending', ?, ?)").run([id, now, failed])
  const seq = integer(db.prepare('SELECT seq FROM rp_tx WHERE id = ?').all([id])[0]?.[0])
  for (const op of ops) addOp(db, tables, seq, op)
  seal(db, seq)
  beginFate(db, { id, call: null, now }, false)
  db.prepare('UPDATE rp_failed SET next = ? WHERE tx = ?').run([id, failed])
  return id
}

/** Puts an op into the outbox of a transaction, and covers its row. */
export function addOp(db: Sqlite, tables: Tables, seq: number, { op, table, id, data, old }: StoredOp): void {
  const type = typeOf(db, table)
  coverRow(db, { type, name: table, id }, tables.get(table))
  db.prepare('INSERT INTO rp_outbox (tx, op, type, row_id, data, old) VALUES (?, ?, ?, ?, ?, ?)').run([
    seq,
    op,
    type,
    id,
    data,
    old,
  ])
}

/** Reads what `opsText` wrote, inside SQLite: JSON.parse would round an integer beyond 2^53. */
export function opsOf(db: Sqlite, json: string): StoredOp[] {
  const rows = db
    .prepare(
      `SELECT value ->> '$.op', value ->> '$.table', value ->> '$.id', value -> '$.data', value -> '$.old' FROM json_each(?) ORDER BY key`,
    )
    .all([json])
  // A delete has none, and `null` is what earlier releases wrote for that.
  return rows.map(([op, table, id, data, old]) => storedOp([op, table, id, op === 'delete' ? null : data, old]))
}

function check(db: Sqlite, tables: Tables, { op, table, data }: StoredOp): void {
  const found = tables.get(table)
  const visible = found?.visible ?? []
  if (visible.length === 0 || found?.local) throw new ProblemError('ops', `there is no table ${table}`)
  if (op === 'delete') return
  const keys = db.prepare('SELECT key FROM json_each(?)').all([data]).flat()
  const unknown = keys.filter((key) => !visible.includes(text(key)))
  if (unknown.length > 0)
    throw new ProblemError('ops', `${table} has no column ${unknown.map((key) => identifier(text(key))).join(', ')}`)
}

const textOrNull = (value: SqlValue | undefined): string | null => (typeof value === 'string' ? value : null)
