import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Engine } from '../engine.ts'
import { openNodeSqlite } from '../../node-sqlite.ts'
import { nodeSqlite } from '../../sqlite/node.ts'
import type { Sqlite } from '../../sqlite/sqlite.ts'
import type { Schema } from '../../types.ts'
import * as oldOutbox from '../outbox.ts'
import { clientId } from '../storage.ts'
import { storeAnswer } from '../outbox/decide.ts'
import { failedTransactions, retry } from '../outbox/failed.ts'
import { nextRequest } from '../outbox/request.ts'
import { deriveRows } from '../store/derive.ts'
import { fateOf } from '../store/fates.ts'
import { get, openLayout, put } from '../store/layout.ts'
import { applySchema } from '../store/schema.ts'
import type { StoredTable } from '../store/tables.ts'
import { Crash, FaultySqlite } from '../store/test-crash.ts'
import { temporaryDirectory } from '../../../../test/support/support.ts'
import { idOf, isMoveOver, isOldFile, moveIn } from './move.ts'

const SCHEMA: Schema = {
  tables: { notes: { columns: { body: 'text', n: 'integer', done: 'boolean' } }, gone: { columns: { body: 'text' } } },
}
const LATER: Schema = { tables: { notes: { columns: { body: 'text', n: 'integer', done: 'boolean' } } } }

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
beforeEach(async () => void (directory = await temporaryDirectory(true)))
afterEach(() => directory.remove())

/** A file that the client of today has written: one write accepted, one rejected, four waiting. */
async function oldFile(): Promise<string> {
  const path = `${directory.path}/old.db`
  const db = openNodeSqlite(path)
  const options = { url: 'http://127.0.0.1:1', schema: SCHEMA, user: 'alice', auth: () => 'none', connect: false }
  const engine = new Engine(db, options, { kind: 'file' })
  clientId(db)
  const write = (sql: string): Promise<unknown> => engine.write((tx) => tx.execute(sql))
  await write("INSERT INTO notes (id, body) VALUES ('accepted', 'a')")
  oldOutbox.accepted(db, 1)
  oldOutbox.setTarget(db, SCHEMA, 1, 7)
  await write("INSERT INTO notes (id, body, n) VALUES ('rejected', 'r', 9007199254740993)")
  oldOutbox.rejected(db, SCHEMA, 2, { code: 'not_allowed', message: 'no' })
  await write("INSERT INTO notes (id, body, n, done) VALUES ('put', 'p', 9007199254740993, true)")
  await write("UPDATE notes SET body = 'changed' WHERE id = 'put'")
  await write("DELETE FROM notes WHERE id = 'accepted'")
  await write("INSERT INTO gone (id, body) VALUES ('g', 'of a table that the new schema lacks')")
  await engine.close()
  return path
}

const openOld = (path: string): Sqlite => nodeSqlite(new DatabaseSync(path, { readOnly: true }))

function openNew(db: Sqlite, schema = LATER): Map<string, StoredTable> {
  openLayout(db)
  return applySchema(db, schema)
}

/** Everything but the clock. */
const content = (db: Sqlite): unknown[] =>
  ['notes ORDER BY id', 'rp_tx', 'rp_outbox', 'rp_failed', 'rp_base', 'rp_fates', "rp_kv WHERE key <> 'tables'"].map(
    (from) => db.prepare(`SELECT * FROM ${from}`).all(),
  )

test('the queue, failed writes, the id of the client and whose file it is are taken over', async () => {
  const old = openOld(await oldFile())
  expect(isOldFile(old)).toBe(true)
  const db = nodeSqlite(new DatabaseSync(':memory:'))
  const tables = openNew(db)
  expect(moveIn(db, tables, old, 5)).toEqual(new Set(['notes']))
  expect(db.prepare('SELECT * FROM notes').all()).toEqual([['put', 'changed', 9007199254740993n, 1]])
  expect(get(db, 'user')).toBe('alice')
  expect([[get(db, 'client_id')]]).toEqual(old.prepare("SELECT value FROM rp_kv WHERE key = 'client_id'").all())
  const request = nextRequest(db, { limit: 100, hello: true })
  const body: { answered: number; transactions: { id: string; ops: unknown[] }[] } = JSON.parse(request?.body ?? '')
  expect(body.transactions.map(({ ops }) => ops)).toEqual([
    [{ op: 'put', table: 'notes', id: 'put', data: { body: 'p', n: 9007199254740992, done: true } }],
    [{ op: 'patch', table: 'notes', id: 'put', data: { body: 'changed' } }],
    [{ op: 'delete', table: 'notes', id: 'accepted' }],
    [{ op: 'put', table: 'gone', id: 'g', data: { body: 'of a table that the new schema lacks' } }],
  ])
  expect(request?.body).toContain('"n":9007199254740993')
  expect(db.prepare("SELECT target FROM rp_tx WHERE state = 'accepted'").all()).toEqual([[7]])
  const [failed] = failedTransactions(db)
  expect(failed).toMatchObject({ code: 'not_allowed', message: 'no', ops: [{ op: 'put', id: 'rejected' }] })
  expect(fateOf(db, failed?.id ?? '')).toEqual({ result: 'rejected', code: 'not_allowed', message: 'no' })
  db.transaction(() => {
    retry(db, tables, failed?.id ?? '', 6)
    deriveRows(db, tables)
  })
  expect(db.prepare("SELECT n FROM notes WHERE id = 'rejected'").all()).toEqual([[9007199254740993n]])
  old.close()
  db.close()
})

test('a move that ends at any statement begins anew, and comes to the same', async () => {
  const path = await oldFile()
  const whole = nodeSqlite(new DatabaseSync(':memory:'))
  const old = openOld(path)
  moveIn(whole, openNew(whole), old, 5)
  let crashes = 0
  for (let left = 0, over = false; !over; left++) {
    const db = new FaultySqlite(nodeSqlite(new DatabaseSync(':memory:')))
    const tables = openNew(db)
    db.left = left
    try {
      moveIn(db, tables, old, 5)
      over = true
    } catch (error) {
      if (!(error instanceof Crash)) throw error
      crashes++
      db.left = Infinity
      expect(db.prepare('SELECT count(*) FROM rp_tx').all()).toEqual([[0]])
      moveIn(db, openNew(db), old, 5)
    }
    db.left = Infinity
    expect(content(db)).toEqual(content(whole))
    db.close()
  }
  expect(crashes).toBeGreaterThan(30)
  old.close()
  whole.close()
})

test('it is over when the server has decided what was taken over, and rows have come again', async () => {
  const old = openOld(await oldFile())
  const db = nodeSqlite(new DatabaseSync(':memory:'))
  const tables = openNew(db)
  expect(isMoveOver(db)).toBe(false)
  moveIn(db, tables, old, 5)
  const before = content(db)
  expect(moveIn(db, tables, old, 6)).toEqual(new Set())
  expect(content(db)).toEqual(before)
  const ids = nextRequest(db, { limit: 100, hello: false })?.ids ?? []
  const accepted = (count: number) => ids.slice(0, count).map((id) => ({ id, result: 'accepted' as const }))
  storeAnswer(db, tables, { kind: 'decided', verdicts: accepted(3), writeCheckpoint: null, reopen: [] }, '{}', 7)
  put(db, 'last_synced_at', 8)
  expect(isMoveOver(db)).toBe(false)
  storeAnswer(
    db,
    tables,
    { kind: 'decided', verdicts: accepted(4).slice(3), writeCheckpoint: null, reopen: [] },
    '{}',
    7,
  )
  expect(isMoveOver(db)).toBe(true)
  db.prepare("DELETE FROM rp_kv WHERE key = 'last_synced_at'").run()
  expect(isMoveOver(db)).toBe(false)
  old.close()
  db.close()
})

test('what is written by an earlier release after the move, when an update was taken back, is taken over too, and nothing twice', async () => {
  const path = await oldFile()
  const db = nodeSqlite(new DatabaseSync(':memory:'))
  const tables = openNew(db)
  const move = (): void => {
    const old = openOld(path)
    moveIn(db, tables, old, 5)
    old.close()
  }
  move()
  const before = db.prepare('SELECT id FROM rp_tx ORDER BY seq').all().flat()
  // All of it is decided and forgotten meanwhile.
  put(db, 'last_synced_at', 8)
  db.exec("DELETE FROM rp_fates; UPDATE rp_tx SET state = 'accepted'")
  expect(isMoveOver(db)).toBe(true)
  const again = openNodeSqlite(path)
  const engine = new Engine(
    again,
    { url: 'http://127.0.0.1:1', schema: SCHEMA, user: 'alice', auth: () => 'none', connect: false },
    { kind: 'file' },
  )
  await engine.write((tx) => tx.execute("INSERT INTO notes (id, body) VALUES ('later', 'l')"))
  await engine.close()
  move()
  expect(isMoveOver(db)).toBe(false)
  const after = db.prepare('SELECT id FROM rp_tx ORDER BY seq').all().flat()
  expect(after.slice(0, before.length)).toEqual(before)
  expect(after).toHaveLength(before.length + 1)
  expect(db.prepare("SELECT body FROM notes WHERE id = 'later'").all()).toEqual([['l']])
  db.close()
})

test('what was written to a table that the schema lacks is shown when it has it', async () => {
  const old = openOld(await oldFile())
  const db = nodeSqlite(new DatabaseSync(':memory:'))
  moveIn(db, openNew(db), old, 5)
  openNew(db, SCHEMA)
  expect(db.prepare('SELECT * FROM gone').all()).toEqual([['g', 'of a table that the new schema lacks']])
  old.close()
  db.close()
})

test('a file without our tables is no old file, and one of an unknown format is refused', () => {
  const db = nodeSqlite(new DatabaseSync(':memory:'))
  expect(isOldFile(db)).toBe(false)
  db.exec('PRAGMA user_version = 2')
  expect(() => isOldFile(db)).toThrow('no earlier release')
  db.close()
})

test('ids are UUIDs, the same for the same transaction', () => {
  const ids = Array.from({ length: 10_000 }, (_, n) => idOf(`client ${n % 10}`, n))
  expect(new Set(ids).size).toBe(ids.length)
  expect(idOf('c', 1)).toBe(idOf('c', 1))
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/)
})
