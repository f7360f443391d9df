import { integer, text, type Sqlite } from '../../sqlite/sqlite.ts'
import { addOp, opsOf } from '../outbox/failed.ts'
import { beginFate, rejectFate } from '../store/fates.ts'
import { deriveRows } from '../store/derive.ts'
import { hash } from '../store/hash.ts'
import { get, put } from '../store/layout.ts'
import { opsJson, seal, storedOp } from '../store/ops.ts'
import type { StoredTable } from '../store/tables.ts'

// Takes over what a file of earlier releases has and the server may not have: writes that are not confirmed, failed
// writes, the id of the client, whose file it is. Its rows come from the server again. The old file is only read. It is
// kept until the server has decided everything that was taken over.

/** Of the tables of earlier releases (`core/storage.ts`): e2bf3d9 and everything since. */
const OLD_FORMAT = 1

type Tables = ReadonlyMap<string, StoredTable>

/** Whether a file of earlier releases has anything in it. Throws when it is of a format that no release has had. */
export function isOldFile(old: Sqlite): boolean {
  const version = integer(old.prepare('PRAGMA user_version').all()[0]?.[0])
  if (version > OLD_FORMAT) throw new Error(`this file has a format that no earlier release wrote: ${version}`)
  return version === OLD_FORMAT
}

/**
 * Takes over in one transaction what was not taken over before: a move that was interrupted begins anew, with the same
 * ids, and what an earlier release has written since, when an update was taken back, comes too. Answers the names of
 * tables of which rows have changed. The caller flushes the file before anything is sent.
 */
export function moveIn(db: Sqlite, tables: Tables, old: Sqlite, now: number): Set<string> {
  return db.transaction(() => {
    const client = oldText(old, 'client_id') ?? crypto.randomUUID()
    const user = oldText(old, 'user')
    const from = get(db, 'moved_number')
    if (from === null) {
      put(db, 'client_id', client)
      if (user !== null) put(db, 'user', user)
    }
    const taken = { db, old, client, after: Number(from ?? 0), now }
    moveFailed(taken)
    const last = moveWaiting(taken, tables)
    if (last > 0 || from === null) put(db, 'moved', last)
    put(db, 'moved_number', Math.max(taken.after, newest(old)))
    return deriveRows(db, tables)
  })
}

interface Taken {
  db: Sqlite
  old: Sqlite
  client: string
  /** Number of the old file: those up to it were taken over before. */
  after: number
  now: number
}

/**
 * Whether the old file is not needed any more: nothing that was taken over waits for the server, and its rows have come
 * again.
 */
export function isMoveOver(db: Sqlite): boolean {
  const last = get(db, 'moved')
  if (last === null || get(db, 'last_synced_at') === null) return false
  return db.prepare("SELECT 1 FROM rp_tx WHERE state <> 'accepted' AND seq <= ? LIMIT 1").all([last]).length === 0
}

/** The highest number that the old file has given. */
const newest = (old: Sqlite): number =>
  Number(old.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'rp_tx'").all()[0]?.[0] ?? 0)

/** Answers the number of the last one; 0: there was none. */
function moveWaiting({ db, old, client, after, now }: Taken, tables: Tables): number {
  let last = 0
  for (const [number, state, target, call] of old
    .prepare('SELECT id, state, target, request FROM rp_tx WHERE id > ? ORDER BY id')
    .all([after])) {
    const ops = old
      .prepare('SELECT op, type, row_id, data FROM rp_outbox WHERE tx = ? ORDER BY seq')
      .all([integer(number)])
    const id = idOf(client, integer(number))
    db.prepare('INSERT INTO rp_tx (id, state, target, made_at) VALUES (?, ?, ?, ?)').run([
      id,
      text(state),
      target ?? null,
      now,
    ])
    last = integer(db.prepare('SELECT seq FROM rp_tx WHERE id = ?').all([id])[0]?.[0])
    for (const op of ops) addOp(db, tables, last, storedOp(op))
    seal(db, last)
    beginFate(db, { id, call: typeof call === 'string' ? call : null, now }, false)
    if (state === 'accepted') db.prepare("UPDATE rp_fates SET result = 'accepted' WHERE id = ?").run([id])
  }
  return last
}

/** They keep their numbers below those that wait: what is sent again comes after them. */
function moveFailed({ db, old, client, after }: Taken): void {
  for (const [number, failedAt, code, message, ops] of old
    .prepare('SELECT tx, failed_at, code, message, ops FROM rp_failed WHERE tx > ? ORDER BY tx')
    .all([after])) {
    const id = idOf(client, integer(number))
    // As the new client writes them: without `data` where there is none.
    const kept = opsJson(opsOf(db, text(ops)))
    db.prepare('INSERT INTO rp_failed (tx, seq, failed_at, code, message, ops) VALUES (?, ?, ?, ?, ?, ?)').run([
      id,
      integer(number),
      integer(failedAt),
      text(code),
      text(message),
      kept,
    ])
    beginFate(db, { id, call: null, now: integer(failedAt) }, false)
    rejectFate(db, id, text(code), text(message))
  }
}

/** A text of rp_kv, where it is a BLOB column that converts nothing. */
function oldText(old: Sqlite, key: string): string | null {
  const value = old.prepare('SELECT value FROM rp_kv WHERE key = ?').all([key])[0]?.[0]
  return typeof value === 'string' ? value : null
}

/** The same for the same transaction, whenever it is asked: a UUID of version 8 (RFC 9562, 5.8). */
export function idOf(client: string, number: number): string {
  const hex = [0, 1, 2]
    .map((part) => hash(`${part} ${client} ${number}`).toString(16).padStart(14, '0').slice(-12))
    .join('')
  return [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(12, 15)}`, `8${hex.slice(15, 18)}`, hex.slice(18, 30)].join(
    '-',
  )
}
