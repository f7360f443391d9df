import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import type { WireOp } from '../../../../protocol/ops.ts'
import { nodeSqlite } from '../../sqlite/node.ts'
import type { Sqlite } from '../../sqlite/sqlite.ts'
import type { ColumnType, Schema } from '../../types.ts'
import { DamagedTable } from './apply.ts'
import { hash } from './hash.ts'
import { Incoming, positions, type Applied } from './incoming.ts'
import { GENERATIONS, openLayout, put } from './layout.ts'
import { beginWrite, endWrite } from './local.ts'
import { applySchema } from './schema.ts'

const SCHEMA: Schema = { tables: { todos: { columns: { title: 'text', n: 'integer' } } } }

interface Store {
  db: Sqlite
  checkpoint(ops: WireOp[], checksum?: number): Applied
}

function open(db = nodeSqlite(new DatabaseSync(':memory:')), schema = SCHEMA): Store {
  openLayout(db)
  const tables = applySchema(db, schema)
  return {
    db,
    checkpoint(ops, checksum) {
      const incoming = new Incoming(db, tables)
      const lastOp = Number(ops.at(-1)?.op_id ?? 0)
      incoming.receive('b', ops, 1)
      const sum =
        checksum ??
        Number(db.prepare("SELECT checksum FROM rp_buckets WHERE name = 'b'").all()[0]?.[0] ?? 0) + ops.length
      return incoming.complete(
        { lastOp, writeCheckpoint: null, buckets: new Map([['b', { checksum: sum, priority: 1, count: ops.length }]]) },
        null,
        1,
      )
    },
  }
}

const row = (op: number, id: string, data: string): WireOp => ({
  op_id: String(op),
  op: 'PUT',
  object_type: 'todos',
  object_id: id,
  subkey: 's',
  checksum: 1,
  data,
})
const gone = (op: number, id: string): WireOp => ({
  op_id: String(op),
  op: 'REMOVE',
  object_type: 'todos',
  object_id: id,
  subkey: 's',
  checksum: 1,
  data: null,
})
const shown = ({ db }: Store): unknown[][] => db.prepare('SELECT * FROM todos ORDER BY id').all()
const write = ({ db }: Store, sql: string): void =>
  db.transaction(() => {
    const seq = beginWrite(db, crypto.randomUUID(), 1)
    db.exec(sql)
    endWrite(db, seq)
  })
const retyped = (n: ColumnType): Schema => ({ tables: { todos: { columns: { title: 'text', n } } } })

test('a link that means another row is an error and deletes nothing', () => {
  const store = open()
  store.checkpoint([row(1, 'a', '{"title":"A"}'), row(2, 'b', '{"title":"B"}')])
  store.db.exec('UPDATE rp_at_todos SET proof = 1 WHERE rid = 1')
  expect(() => store.checkpoint([gone(3, 'a')])).toThrow(DamagedTable)
  expect(() => store.checkpoint([row(3, 'a', '{"title":"A2"}')])).toThrow(DamagedTable)
  expect(() => write(store, "UPDATE todos SET title = 'mine' WHERE id = 'a'")).toThrow('storage_corrupt')
  expect(() => write(store, "REPLACE INTO todos (id, title) VALUES ('a', 'mine')")).toThrow('storage_corrupt')
  expect(shown(store)).toEqual([
    ['a', 'A', null],
    ['b', 'B', null],
  ])
})

test('statements of the app give no row numbers and change no ids', () => {
  const store = open()
  store.checkpoint([row(1, 'a', '{"title":"A"}')])
  for (const number of [1, 7, -1]) {
    expect(() => write(store, `REPLACE INTO todos (rowid, id) VALUES (${number}, 'new')`)).toThrow('no number')
  }
  expect(() => write(store, 'UPDATE todos SET rowid = 9')).toThrow('cannot change')
  expect(() => write(store, "UPDATE todos SET id = 'z'")).toThrow('cannot change')
  expect(() => write(store, "INSERT INTO todos (id) VALUES (x'00')")).toThrow('is text')
  expect(shown(store)).toEqual([['a', 'A', null]])
})

test('what the schema does not have any more is not written', () => {
  const store = open()
  store.checkpoint([row(1, 'a', '{"title":"A","n":1}')])
  const later = open(store.db, { tables: { todos: { columns: { title: 'text' } } } })
  expect(() => write(later, 'UPDATE todos SET n = 2')).toThrow('no such column')
  expect(() => write(later, "INSERT INTO todos (id, n) VALUES ('b', 2)")).toThrow('no such column')
  const none = open(store.db, { tables: { other: { columns: { title: 'text' } } } })
  for (const sql of ["INSERT INTO todos (id) VALUES ('b')", 'UPDATE todos SET n = 2', 'DELETE FROM todos']) {
    expect(() => write(none, sql)).toThrow('no such table')
  }
  expect(shown(open(store.db))).toEqual([['a', 'A', 1]])
})

test('what was captured when the file was copied is not captured on', () => {
  const store = open()
  store.db.exec('INSERT INTO rp_capture VALUES (7)')
  const again = open(store.db)
  again.checkpoint([row(1, 'a', '{"title":"A"}')])
  expect(again.db.prepare('SELECT * FROM rp_outbox').all()).toEqual([])
})

test('a file of a newer build is refused', () => {
  const store = open()
  put(store.db, 'format', 99)
  expect(() => open(store.db)).toThrow('newer version')
})

test('a text that becomes a number needs no server', () => {
  const store = open(undefined, retyped('text'))
  store.checkpoint([row(1, 'a', '{"n":"007"}'), row(2, 'b', '{"n":9007199254740993}')])
  write(store, "UPDATE todos SET title = 'mine' WHERE id = 'b'")
  const later = open(store.db, retyped('integer'))
  expect(shown(later)).toEqual([
    ['a', null, 7],
    ['b', 'mine', 9007199254740993n],
  ])
  expect(positions(later.db)).toEqual([{ name: 'b', after: '2' }])
})

test('a number that becomes a text is loaded again, and shown and kept meanwhile', () => {
  const store = open()
  const ops = [row(1, 'a', '{"n":"007"}'), row(2, 'b', '{"n":1}'), row(3, 'c', '{"n":3}')]
  store.checkpoint(ops)
  write(store, "UPDATE todos SET title = 'mine' WHERE id = 'b'")
  const later = open(store.db, retyped('text'))
  expect(positions(later.db)).toEqual([{ name: 'b', after: '0' }])
  expect(shown(later)).toEqual([
    ['a', null, '7'],
    ['b', 'mine', '1'],
    ['c', null, '3'],
  ])
  expect(later.checkpoint(ops.slice(0, 2))).toMatchObject({ ok: true })
  expect(shown(later)).toEqual([
    ['a', null, '007'],
    ['b', 'mine', '1'],
  ])
})

test('a bucket that is loaded again and again never runs out of generations', () => {
  const store = open()
  for (let n = 1; n <= GENERATIONS * 2 + 3; n++) {
    expect(store.checkpoint([row(n, `r${n}`, '{"title":"x"}')], -1)).toMatchObject({ ok: false })
    expect(store.checkpoint([row(n, `r${n}`, '{"title":"x"}')])).toMatchObject({ ok: true })
    expect(shown(store)).toEqual([[`r${n}`, 'x', null]])
  }
})

test('a hash is an integer that JavaScript and SQLite hold, and differs', () => {
  const hashes = new Set<number>()
  for (let n = 0; n < 100_000; n++) {
    const value = hash(`row ${n}`)
    expect(Number.isSafeInteger(value) && value >= 0).toBe(true)
    hashes.add(value)
  }
  expect(hashes.size).toBe(100_000)
})
