import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { nodeSqlite } from '../../sqlite/node.ts'
import type { Sqlite } from '../../sqlite/sqlite.ts'
import { ProblemError } from '../problem.ts'
import { deriveRows } from '../store/derive.ts'
import { beginFate, fateOf, fateOfCall, KEPT_FATES, KEPT_MS, pruneFates } from '../store/fates.ts'
import { openLayout } from '../store/layout.ts'
import { beginWrite, endWrite, MAX_BYTES, MAX_OPS } from '../store/local.ts'
import { applySchema } from '../store/schema.ts'
import type { StoredTable } from '../store/tables.ts'
import { storeAnswer } from './decide.ts'
import { dismiss, edit, failedTransactions, retry } from './failed.ts'
import { MAX_REQUEST_BYTES, nextRequest } from './request.ts'
import { uuid7 } from './uuid.ts'
import type { StoredOp } from '../store/ops.ts'

function open(old = false): { db: Sqlite; tables: Map<string, StoredTable> } {
  const db = nodeSqlite(new DatabaseSync(':memory:'))
  openLayout(db)
  return { db, tables: applySchema(db, { tables: { notes: { columns: { body: 'text', n: 'integer' }, old } } }) }
}

const write = (db: Sqlite, id: string, sql: string): void =>
  db.transaction(() => {
    const seq = beginWrite(db, id, 1)
    db.exec(sql)
    endWrite(db, seq, `call ${id}`)
  })

const reject = (store: ReturnType<typeof open>, ...ids: string[]): void =>
  rejectAs(store, ...ids.map((id): [string, string] => [id, 'constraint']))

function rejectAs({ db, tables }: ReturnType<typeof open>, ...codes: [id: string, code: string][]): void {
  nextRequest(db, { limit: 100, hello: false })
  const verdicts = codes.map(([id, code]) => ({ id, result: 'rejected' as const, code, message: 'no', field: null }))
  storeAnswer(db, tables, { kind: 'decided', verdicts, writeCheckpoint: null, reopen: [] }, '{}', 1)
}

const derived = <T>({ db, tables }: ReturnType<typeof open>, work: () => T): T =>
  db.transaction(() => {
    const result = work()
    deriveRows(db, tables)
    return result
  })
const rows = (db: Sqlite): unknown[][] => db.prepare('SELECT * FROM notes ORDER BY id').all()
const put = (data: string): StoredOp => ({ op: 'put', table: 'notes', id: 'a', data, old: null })

test('a retry is a new transaction with the same ops, and the rejected one is kept until it is decided', () => {
  const store = open()
  const { db, tables } = store
  write(db, 'one', "INSERT INTO notes VALUES ('a', 'x', 9007199254740993)")
  write(db, 'two', "UPDATE notes SET body = 'y' WHERE id = 'a'")
  reject(store, 'one')
  expect(rows(db)).toEqual([])
  const ids = derived(store, () => retry(db, tables, 'one', 2))
  expect([...ids.keys()]).toEqual(['one', 'two'])
  expect(rows(db)).toEqual([['a', 'y', 9007199254740993n]])
  expect(failedTransactions(db)).toEqual([])
  const request = nextRequest(db, { limit: 100, hello: false })
  expect(request?.ids).toEqual([...ids.values()])
  expect(request?.body).toContain(
    '"retry_of":"one","ops":[{"op":"put","table":"notes","id":"a","data":{"body":"x","n":9007199254740993}}]',
  )
  expect(derived(store, () => retry(db, tables, 'one', 3)).size).toBe(0)
  expect(fateOf(db, 'one')).toMatchObject({ result: 'rejected', code: 'constraint' })
  expect(fateOf(db, ids.get('one') ?? '')).toEqual({ result: 'pending' })
  // Rejected again: one entry, not two.
  reject(store, ids.get('one') ?? '')
  expect(failedTransactions(db).map(({ id }) => id)).toEqual([...ids.values()])
  expect(db.prepare('SELECT count(*) FROM rp_failed').all()).toEqual([[2]])
})

test('what the server rejects because it builds on a rejected write is kept with that one', () => {
  const store = open()
  const { db, tables } = store
  write(db, 'other', "INSERT INTO notes VALUES ('z', 'x', 1)")
  write(db, 'one', "INSERT INTO notes VALUES ('a', 'x', 1)")
  write(db, 'two', "UPDATE notes SET n = 2 WHERE id = 'a'; INSERT INTO notes VALUES ('b', 'x', 1)")
  write(db, 'three', "UPDATE notes SET n = 2 WHERE id = 'b'; INSERT INTO notes VALUES ('c', 'x', 1)")
  rejectAs(store, ['other', 'constraint'], ['one', 'constraint'], ['two', 'depends_on'], ['three', 'depends_on'])
  const kept = failedTransactions(db).map(({ id, dependsOn }) => [id, dependsOn])
  expect(kept).toEqual([
    ['other', null],
    ['one', null],
    ['two', 'one'],
    ['three', 'one'],
  ])
  expect([...derived(store, () => retry(db, tables, 'one', 2)).keys()]).toEqual(['one', 'two', 'three'])
  // The server saw less of the queue than there is.
  write(db, 'four', "INSERT INTO notes VALUES ('d', 'x', 1)")
  write(db, 'five', "UPDATE notes SET n = 2 WHERE id = 'd'; INSERT INTO notes VALUES ('e', 'x', 1)")
  write(db, 'six', "UPDATE notes SET n = 2 WHERE id = 'e'")
  rejectAs(store, ['four', 'constraint'], ['five', 'depends_on'])
  expect(failedTransactions(db).map(({ id, dependsOn }) => [id, dependsOn])).toEqual([
    ['other', null],
    ['four', null],
    ['five', 'four'],
    ['six', 'four'],
  ])
})

test('an edit takes the place of a failed write, and must fit the schema', () => {
  const store = open()
  const { db, tables } = store
  write(db, 'one', "INSERT INTO notes VALUES ('a', 'x', 1)")
  reject(store, 'one')
  const refused: [StoredOp[]][] = [[[]], [[{ ...put('{"body":"z"}'), table: 'none' }]], [[put('{"nothing":1}')]]]
  for (const [ops] of refused) {
    expect(() => derived(store, () => edit(db, tables, 'one', ops, 2))).toThrow(ProblemError)
    expect(failedTransactions(db)).toHaveLength(1)
  }
  expect(derived(store, () => edit(db, tables, 'one', [put('{"body":"z","n":2}')], 2))).not.toBeNull()
  expect(rows(db)).toEqual([['a', 'z', 2]])
  expect(edit(db, tables, 'one', [put('{}')], 2)).toBeNull()
  dismiss(db, 'one')
  expect(db.prepare('SELECT tx FROM rp_failed').all()).toEqual([['one']])
})

test('a client that has never been heard of has decided nothing, whatever numbers it has used up', () => {
  const { db } = open()
  write(db, 'none', "DELETE FROM notes WHERE id = 'nobody'")
  write(db, 'one', "INSERT INTO notes (id) VALUES ('a')")
  expect(nextRequest(db, { limit: 100, hello: false })?.body).toContain(
    '"answered":0,"transactions":[{"id":"one","seq":2,',
  )
})

test('changes of a row that follow each other are one op, with every digit and what was there before the first', () => {
  const { db } = open(true)
  write(db, 'base', "INSERT INTO notes VALUES ('a', 'x', 9007199254740993)")
  const ops = (id: string): unknown =>
    db
      .prepare('SELECT op, data, old FROM rp_outbox WHERE tx = (SELECT seq FROM rp_tx WHERE id = ?) ORDER BY seq')
      .all([id])
  write(
    db,
    'put',
    "INSERT INTO notes (id, body) VALUES ('b', 'one'); UPDATE notes SET n = 9007199254740995 WHERE id = 'b'",
  )
  expect(ops('put')).toEqual([['put', '{"body":"one","n":9007199254740995}', null]])
  write(db, 'patch', "UPDATE notes SET n = 1 WHERE id = 'a'; UPDATE notes SET body = 'y', n = NULL WHERE id = 'a'")
  expect(ops('patch')).toEqual([['patch', '{"n":null,"body":"y"}', '{"body":"x","n":9007199254740993}']])
  write(
    db,
    'other',
    "UPDATE notes SET n = 1 WHERE id = 'a'; UPDATE notes SET n = 1 WHERE id = 'b'; UPDATE notes SET n = 2 WHERE id = 'a'",
  )
  expect(ops('other')).toHaveLength(3)
  write(
    db,
    'deleted',
    "UPDATE notes SET n = 3 WHERE id = 'a'; DELETE FROM notes WHERE id = 'a'; INSERT INTO notes (id, n) VALUES ('a', 4)",
  )
  expect(ops('deleted')).toEqual([
    ['patch', '{"n":3}', '{"n":2}'],
    ['delete', null, '{"body":"y","n":3}'],
    ['put', '{"body":null,"n":4}', null],
  ])
  expect(nextRequest(db, { limit: 100, hello: false })?.body).toContain(
    '{"op":"patch","table":"notes","id":"a","data":{"n":null,"body":"y"},"old":{"body":"x","n":9007199254740993}}',
  )
})

test('a retry that a reset has renamed is the successor of the failed write all the same', () => {
  const store = open()
  const { db, tables } = store
  write(db, 'one', "INSERT INTO notes (id) VALUES ('a')")
  reject(store, 'one')
  derived(store, () => retry(db, tables, 'one', 2))
  const decide = (result: 'client_reset' | 'accepted'): void => {
    const [id = ''] = nextRequest(db, { limit: 100, hello: false })?.ids ?? []
    storeAnswer(db, tables, { kind: 'decided', verdicts: [{ id, result }], writeCheckpoint: null, reopen: [] }, '{}', 3)
  }
  decide('client_reset')
  expect(db.prepare('SELECT tx FROM rp_failed').all()).toEqual([['one']])
  expect(failedTransactions(db)).toEqual([])
  decide('accepted')
  expect(db.prepare('SELECT tx FROM rp_failed').all()).toEqual([])
})

test('dismissed writes are gone, one or all', () => {
  const store = open()
  for (const id of ['a', 'b', 'c']) write(store.db, id, `INSERT INTO notes (id) VALUES ('${id}')`)
  reject(store, 'a', 'b', 'c')
  dismiss(store.db, 'b')
  expect(failedTransactions(store.db).map(({ id }) => id)).toEqual(['a', 'c'])
  dismiss(store.db, null)
  expect(failedTransactions(store.db)).toEqual([])
})

test('a write that could never be uploaded is refused as a whole', () => {
  const { db } = open()
  const many = `WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n <= ${MAX_OPS}) INSERT INTO notes (id) SELECT n FROM c`
  for (const sql of [many, `INSERT INTO notes (id, body) VALUES ('a', '${'x'.repeat(MAX_BYTES)}')`]) {
    let code: unknown = null
    try {
      write(db, uuid7(1), sql)
    } catch (error) {
      code = error instanceof ProblemError ? error.code : error
    }
    expect(code).toBe('too_large')
  }
  expect(rows(db)).toEqual([])
  write(db, 'fits', many.replace('<=', '<'))
  expect(rows(db)).toHaveLength(MAX_OPS)
})

test('a request has so many bytes at most, and a larger transaction goes alone', () => {
  const { db } = open()
  const sizes = [100_000, 100_000, 100_000, MAX_REQUEST_BYTES * 2, 10]
  for (const [n, size] of sizes.entries())
    write(db, `t${n}`, `INSERT INTO notes (id, body) VALUES ('r${n}', '${'ä'.repeat(size >> 1)}')`)
  const sent: string[][] = []
  for (
    let next = nextRequest(db, { limit: 100, hello: false });
    next;
    next = nextRequest(db, { limit: 100, hello: false })
  ) {
    sent.push(next.ids)
    if (next.ids.length > 1) expect(new TextEncoder().encode(next.body).length).toBeLessThan(MAX_REQUEST_BYTES + 1_000)
    for (const id of next.ids) db.prepare("UPDATE rp_tx SET state = 'accepted' WHERE id = ?").run([id])
  }
  expect(sent).toEqual([['t0', 't1'], ['t2'], ['t3'], ['t4']])
})

test('what became of a write is known by its id and by its call, also when it changed nothing', () => {
  const { db } = open()
  write(db, 'one', "INSERT INTO notes (id) VALUES ('a')")
  write(db, 'none', "DELETE FROM notes WHERE id = 'nobody'")
  expect(fateOf(db, 'one')).toEqual({ result: 'pending' })
  expect(fateOf(db, 'none')).toEqual({ result: 'accepted', confirmed: true })
  expect(fateOfCall(db, 'call none')).toEqual({ id: 'none', value: [] })
  expect(fateOf(db, 'never')).toBeNull()
  expect(fateOfCall(db, 'call never')).toBeNull()
})

test('old fates are forgotten, but for the newest and for those that are open', () => {
  const { db } = open()
  write(db, 'open', "INSERT INTO notes (id) VALUES ('a')")
  for (let n = 0; n < KEPT_FATES + 5; n++) beginFate(db, { id: `d${n}`, call: null, now: 1 }, true)
  pruneFates(db, KEPT_MS)
  expect(fateOf(db, 'd0')).not.toBeNull()
  pruneFates(db, KEPT_MS + 2)
  expect([fateOf(db, 'd4'), fateOf(db, 'd5'), fateOf(db, 'open')]).toEqual([
    null,
    { result: 'accepted', confirmed: true },
    { result: 'pending' },
  ])
})

test('ids are of version 7, and sort by time', () => {
  const ids = [1, 1_000, 1_764_500_000_000, 2 ** 47].map((now) => uuid7(now))
  expect([...ids].sort()).toEqual(ids)
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  expect(uuid7(0x019a_d465_4d00)).toMatch(/^019ad465-4d00-7/)
  expect(uuid7(1)).not.toBe(uuid7(1))
})
