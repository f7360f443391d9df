import { integer, text, type Sqlite } from '../../sqlite/sqlite.ts'
import type { SqlValue } from '../../types.ts'
import { addOp, opsOf } from './failed.ts'
import { uuid7 } from './uuid.ts'
import { deriveRows } from '../store/derive.ts'
import { acceptFate, beginFate, rejectFate } from '../store/fates.ts'
import { put } from '../store/layout.ts'
import { opsJson, proofOf, seal, type StoredOp } from '../store/ops.ts'
import type { StoredTable } from '../store/tables.ts'

// What can be read of the queue in a damaged file, and a new file that begins with it. Rows come from the server again;
// what was never sent is nowhere else. Every row is read by itself, because a page that cannot be read takes only its
// own rows with it. A transaction counts only when its proof says that it is whole and as it was: half of one, or one
// with a flipped bit, is never sent unasked.

/** So many row numbers are tried beyond one that cannot be read. */
const GAP = 1_000
const KEYS = ['client_id', 'user', 'seq_base', 'decided', 'write_checkpoint'] as const

export interface SalvagedTransaction {
  seq: number
  id: string
  state: 'pending' | 'sent' | 'accepted'
  target: number | null
  retryOf: string | null
  madeAt: number
  ops: StoredOp[]
  /** It is as it was written. */
  isWhole: boolean
}

/** Plain data: it is written to a file of its own before anything else is done. */
export interface Salvaged {
  values: Partial<Record<(typeof KEYS)[number], string | number>>
  transactions: SalvagedTransaction[]
  failed: {
    id: string
    seq: number
    failedAt: number
    code: string
    message: string
    dependsOn: string | null
    ops: StoredOp[]
  }[]
}

export interface Recovered {
  /** Transactions that wait for the server as before. */
  unsent: number
  /**
   * Those that are not whole, or of which it is not known whether the server has them: they are among the failed ones,
   * with the code `damaged`.
   */
  damaged: number
}

/** Reads what there is. Never throws because of damage. */
export function salvage(db: Sqlite): Salvaged {
  const types = new Map(rowwise(db, 'rp_types', ['id', 'name']).map(([id, name]) => [id, textOr(name, '')]))
  const ops = new Map<number, StoredOp[]>()
  for (const [tx, op, type, id, data, old] of rowwise(db, 'rp_outbox', ['tx', 'op', 'type', 'row_id', 'data', 'old'])) {
    if (typeof tx !== 'number' || (op !== 'put' && op !== 'patch' && op !== 'delete')) continue
    const all = ops.get(tx) ?? []
    all.push({ op, table: types.get(type ?? null) ?? '', id: textOr(id, ''), data: json(db, data), old: json(db, old) })
    ops.set(tx, all)
  }
  const transactions = rowwise(db, 'rp_tx', ['seq', 'id', 'state', 'target', 'retry_of', 'made_at', 'proof']).flatMap(
    (row) => {
      const found = transactionOf(row, ops)
      return found ? [found] : []
    },
  )
  const known = new Set(transactions.map(({ seq }) => seq))
  for (const [seq, of] of ops) if (!known.has(seq)) transactions.push({ ...lost(seq), ops: of })
  return { values: valuesOf(db), transactions: transactions.sort((a, b) => a.seq - b.seq), failed: failedOf(db) }
}

/**
 * Begins a new file with it: our tables and those of the schema are there, and empty. `mark`: kept as `salvaged` in
 * rp_kv, so that whoever repeats it knows.
 */
export function restore(
  db: Sqlite,
  tables: ReadonlyMap<string, StoredTable>,
  { values, transactions, failed }: Salvaged,
  now: number,
  mark = '',
): Recovered {
  return db.transaction(() => {
    put(db, 'salvaged', mark)
    for (const key of KEYS) {
      const value = values[key]
      // What was applied is not here any more.
      if (value !== undefined && key !== 'write_checkpoint') put(db, key, value)
    }
    const recovered: Recovered = { unsent: 0, damaged: 0 }
    const gone = new Map<string, string>()
    for (const each of transactions) {
      const rows = each.ops.map(({ table, id }) => `${table} ${id}`)
      const on = rows.map((row) => gone.get(row)).find((id) => id !== undefined)
      // Without the name of the client the server cannot tell one that it has from a new one.
      const isCertain = each.isWhole && (values.client_id !== undefined || each.state !== 'sent')
      if (isCertain && (on === undefined || each.state === 'accepted')) {
        waiting(db, tables, each, now)
        if (each.state !== 'accepted') recovered.unsent++
        continue
      }
      for (const row of rows) gone.set(row, on ?? each.id)
      const why = isCertain
        ? { code: 'depends_on', message: `it builds on ${on}, which was damaged`, dependsOn: on ?? null }
        : {
            code: 'damaged',
            message: 'the local database was damaged: this write may be incomplete, or the server may have it',
            dependsOn: null,
          }
      keepFailed(db, { ...why, id: each.id, seq: each.seq, failedAt: now, ops: each.ops })
      recovered.damaged++
    }
    for (const each of failed) keepFailed(db, each)
    deriveRows(db, tables)
    return recovered
  })
}

function waiting(db: Sqlite, tables: ReadonlyMap<string, StoredTable>, each: SalvagedTransaction, now: number): void {
  const { seq, id, state, target, retryOf, madeAt } = each
  db.prepare('INSERT INTO rp_tx (seq, id, state, target, made_at, retry_of) VALUES (?, ?, ?, ?, ?, ?)').run([
    seq,
    id,
    state,
    target,
    madeAt,
    retryOf,
  ])
  for (const op of each.ops) addOp(db, tables, seq, op)
  seal(db, seq)
  beginFate(db, { id, call: null, now }, false)
  if (state === 'accepted') acceptFate(db, id)
}

function keepFailed(
  db: Sqlite,
  { id, seq, failedAt, code, message, dependsOn, ops }: Salvaged['failed'][number],
): void {
  db.prepare(
    'INSERT OR IGNORE INTO rp_failed (tx, seq, failed_at, code, message, ops, depends_on) VALUES (?, ?, ?, ?, ?, ?, ?)',
  ).run([id, seq, failedAt, code, message, opsJson(ops), dependsOn])
  db.prepare('DELETE FROM rp_fates WHERE id = ?').run([id])
  beginFate(db, { id, call: null, now: failedAt }, false)
  rejectFate(db, id, code, message)
}

const lost = (seq: number): SalvagedTransaction => ({
  seq,
  id: uuid7(Date.now()),
  state: 'sent',
  target: null,
  retryOf: null,
  madeAt: 0,
  ops: [],
  isWhole: false,
})

function transactionOf(row: SqlValue[], all: ReadonlyMap<number, StoredOp[]>): SalvagedTransaction | null {
  const [seq, id, state, target, retryOf, madeAt, proof] = row
  if (typeof seq !== 'number') return null
  const ops = all.get(seq) ?? []
  if (typeof id !== 'string' || (state !== 'pending' && state !== 'sent' && state !== 'accepted'))
    return { ...lost(seq), ops }
  const isWhole = ops.length > 0 && typeof madeAt === 'number' && proofOf(id, opsJson(ops)) === proof
  return {
    seq,
    id,
    state,
    ops,
    isWhole,
    madeAt: typeof madeAt === 'number' ? madeAt : 0,
    target: typeof target === 'number' ? target : null,
    retryOf: typeof retryOf === 'string' ? retryOf : null,
  }
}

function failedOf(db: Sqlite): Salvaged['failed'] {
  const columns = ['tx', 'seq', 'failed_at', 'code', 'message', 'ops', 'depends_on', 'next']
  return rowwise(db, 'rp_failed', columns).flatMap(([tx, seq, at, code, message, ops, dependsOn, next]) => {
    if (typeof tx !== 'string' || typeof next === 'string') return []
    const found = attempt(() => opsOf(db, text(ops)))
    if (!found) return []
    const known = {
      id: tx,
      seq: typeof seq === 'number' ? seq : 0,
      failedAt: typeof at === 'number' ? at : 0,
      ops: found,
    }
    return [
      {
        ...known,
        code: textOr(code, 'damaged'),
        message: textOr(message, ''),
        dependsOn: typeof dependsOn === 'string' ? dependsOn : null,
      },
    ]
  })
}

function valuesOf(db: Sqlite): Salvaged['values'] {
  const values: Salvaged['values'] = {}
  for (const key of KEYS) {
    const value = attempt(() => db.prepare('SELECT value FROM rp_kv WHERE key = ?').all([key])[0]?.[0])
    if (typeof value === 'string' || typeof value === 'number') values[key] = value
  }
  return values
}

/** Every row that can be read, in the order of row numbers. */
function rowwise(db: Sqlite, table: string, columns: readonly string[]): SqlValue[][] {
  const rows: SqlValue[][] = []
  let missed = 0
  for (let after = -1; missed < GAP;) {
    const found = attempt(() =>
      db
        .prepare(`SELECT rowid, ${columns.join(', ')} FROM ${table} WHERE rowid > ? ORDER BY rowid LIMIT 1`)
        .all([after]),
    )
    if (!found) {
      after++
      missed++
      continue
    }
    const [row] = found
    if (!row) break
    const at = integer(row[0])
    // A damaged number must not send us back.
    if (at <= after) after++
    else {
      rows.push(row.slice(1))
      after = at
      missed = 0
    }
  }
  return rows
}

/** JSON that was damaged is none. */
function json(db: Sqlite, value: SqlValue | undefined): string | null {
  if (typeof value !== 'string') return null
  return attempt(() => db.prepare('SELECT json_valid(?)').all([value])[0]?.[0]) === 1 ? value : null
}

const textOr = (value: SqlValue | undefined, otherwise: string): string =>
  typeof value === 'string' ? value : otherwise

function attempt<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch {
    return undefined
  }
}
