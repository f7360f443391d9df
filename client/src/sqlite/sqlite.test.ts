import { DatabaseSync } from 'node:sqlite'
import sqlite3InitModule from '@sqlite.org/sqlite-wasm'
import { describe, expect, test } from 'vitest'
import { sqliteCode } from '../core/problem.ts'
import { schedule } from '../core/store/test-simulation.ts'
import type { SqlValue } from '../types.ts'
import { nodeSqlite } from './node.ts'
import type { Sqlite } from './sqlite.ts'
import { wasmSqlite } from './wasm.ts'

const sqlite3 = await sqlite3InitModule()

const CONNECTIONS: [name: string, open: () => Sqlite][] = [
  ['node:sqlite', () => nodeSqlite(new DatabaseSync(':memory:'))],
  ['wasm', () => wasmSqlite(sqlite3, { path: ':memory:' })],
]

const VALUES: SqlValue[] = [
  ...[
    null,
    0,
    1,
    -1,
    2 ** 31,
    -(2 ** 40),
    Number.MAX_SAFE_INTEGER,
    9007199254740993n,
    9223372036854775807n,
    -9223372036854775808n,
    1.5,
    1e300,
  ],
  ...['', 'text', 'ä€😀', 'a\0b', 'x'.repeat(100_000), new Uint8Array(), new Uint8Array([0, 255])],
]

describe.each(CONNECTIONS)('%s', (_, open) => {
  test('values come back as they went in', () => {
    const db = open()
    db.exec('CREATE TABLE t (n INTEGER PRIMARY KEY, value)')
    for (const [n, value] of VALUES.entries()) db.prepare('INSERT INTO t VALUES (?, ?)').run([n, value])
    expect(db.prepare('SELECT value FROM t ORDER BY n').all().flat()).toEqual(VALUES)
    expect(db.prepare(`SELECT ${VALUES.map(() => '?').join(', ')}`).all(VALUES)).toEqual([VALUES])
    db.close()
  })

  test('a whole number is an integer in a column that converts nothing', () => {
    const db = open()
    expect(db.prepare('SELECT typeof(?), typeof(?), typeof(?)').all([1, Number.MAX_SAFE_INTEGER, 1.5])).toEqual([
      ['integer', 'integer', 'real'],
    ])
    db.close()
  })

  test('a second statement is refused, and says so', () => {
    const db = open()
    expect(() => db.prepare('SELECT 1; SELECT 2')).toThrow('one statement at a time')
    expect(db.prepare('SELECT 1;').all()).toEqual([[1]])
    db.close()
  })

  test('changes are those of the statement', () => {
    const db = open()
    db.exec('CREATE TABLE t (n INTEGER PRIMARY KEY)')
    expect(db.prepare('INSERT INTO t VALUES (1), (2)').run()).toBe(2)
    expect(db.prepare('INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING').run()).toBe(0)
    expect(db.prepare('DELETE FROM t').run()).toBe(2)
    db.close()
  })

  test('what throws takes the transaction back, and the next one begins', () => {
    const db = open()
    db.exec('CREATE TABLE t (n INTEGER PRIMARY KEY)')
    expect(() =>
      db.transaction(() => {
        db.prepare('INSERT INTO t VALUES (1)').run()
        db.prepare('INSERT INTO t VALUES (1)').run()
      }),
    ).toThrow('UNIQUE')
    expect(db.transaction(() => db.prepare('SELECT count(*) FROM t').all())).toEqual([[0]])
    db.close()
  })

  test('errors have the code of SQLite', () => {
    const db = open()
    let code: number | null = null
    try {
      db.exec('SELECT * FROM nowhere')
    } catch (error) {
      code = sqliteCode(error)
    }
    expect(code).toBe(1)
    db.close()
  })

  test('a function of ours is called, in triggers too', () => {
    const db = open()
    const seen: SqlValue[] = []
    db.define('ours', (value) => {
      seen.push(value)
      return typeof value === 'string' ? value.length : value
    })
    db.exec(
      'CREATE TABLE t (a, b); CREATE TRIGGER tr AFTER INSERT ON t WHEN NEW.b IS NULL BEGIN UPDATE t SET b = ours(NEW.a) WHERE a = NEW.a; END',
    )
    db.prepare('INSERT INTO t (a) VALUES (?)').run(['four'])
    db.prepare('INSERT INTO t (a) VALUES (?)').run([7])
    expect(db.prepare('SELECT b FROM t').all()).toEqual([[4], [7]])
    expect(seen).toEqual(['four', 7])
    db.close()
  })

  test('more statements than are kept', () => {
    const db = open()
    for (let n = 0; n < 1_000; n++) expect(db.prepare(`SELECT ${n}`).all()).toEqual([[n]])
    expect(db.prepare('SELECT 0').all()).toEqual([[0]])
    db.close()
  })

  test('a statement knows the columns of a table that has changed', () => {
    const db = open()
    db.exec('CREATE TABLE t (a); INSERT INTO t VALUES (1)')
    expect(db.prepare('SELECT * FROM t').all()).toEqual([[1]])
    db.exec('ALTER TABLE t ADD COLUMN b')
    expect(db.prepare('SELECT * FROM t').all()).toEqual([[1, null]])
    db.close()
  })
})

test('schedules of the store come to the same in wasm', () => {
  for (let seed = 1; seed <= 15; seed++) {
    const [node, wasm] = CONNECTIONS.map(([, open]) => schedule(seed, open()))
    expect(wasm?.violation).toBeNull()
    expect(wasm).toEqual(node)
  }
})
