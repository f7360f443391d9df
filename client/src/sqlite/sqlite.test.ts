import { DatabaseSync } from 'node:sqlite'
import sqlite3InitModule from '@sqlite.org/sqlite-wasm'
import { describe, expect, test, vi } from 'vitest'
import { ProblemError, sqliteCode } from '../core/problem.ts'
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
  '',
  'text',
  'ä€😀',
  'a\0b',
  'x'.repeat(100_000),
  new Uint8Array(),
  new Uint8Array([0, 255]),
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

  test('a statement of the application reads and writes rows of its tables, and nothing else', () => {
    const db = open()
    db.exec(`CREATE TABLE t (a); CREATE TABLE rp_kv (key, value); CREATE TABLE seen (a);
      CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO rp_kv VALUES ('a', NEW.a); END`)
    db.prepareForApplication('INSERT INTO t VALUES (?)').run([7])
    expect(db.prepareForApplication('SELECT a FROM t').all()).toEqual([[7]])
    expect(db.prepare('SELECT value FROM rp_kv').all()).toEqual([[7]])
    const refused = [
      "INSERT INTO rp_kv VALUES ('x', 1)",
      'DELETE FROM rp_kv',
      'DROP TABLE t',
      'CREATE TABLE u (a)',
      'PRAGMA user_version = 9',
      'BEGIN',
      'COMMIT',
      'VACUUM',
      "ATTACH ':memory:' AS other",
      'WITH x AS (SELECT 1) DELETE FROM rp_kv',
    ]
    for (const sql of refused) {
      let code: unknown = 'allowed'
      try {
        db.prepareForApplication(sql).run()
      } catch (error) {
        code = error instanceof ProblemError ? error.code : error
      }
      expect([sql, code]).toEqual([sql, 'statement'])
    }
    expect(() => db.prepareForApplication('SELECT 1; SELECT 2')).toThrow('one statement at a time')
    // Ours are not judged, also after one that was.
    db.prepare("INSERT INTO rp_kv VALUES ('ours', 1)").run()
    db.close()
  })

  test('it is judged again when SQLite compiles it anew', () => {
    const db = open()
    db.exec('CREATE TABLE rp_kv (value); CREATE TABLE t (a)')
    const statement = db.prepareForApplication('INSERT INTO t VALUES (1)')
    statement.run()
    db.exec('CREATE TRIGGER tr AFTER INSERT ON t BEGIN DELETE FROM rp_kv; END')
    statement.run()
    db.exec('DROP TABLE t; CREATE VIEW t AS SELECT 1 AS a')
    expect(() => statement.run()).toThrow()
    db.close()
  })

  test('a statement says whether it writes, and which columns of which tables it reads', () => {
    const db = open()
    db.exec('CREATE TABLE t (a, b, c); CREATE TABLE u (id, x); CREATE INDEX i ON t (b)')
    const of = (sql: string): unknown => {
      const { isReadOnly, sources } = db.prepareForApplication(sql)
      return [
        isReadOnly,
        Object.fromEntries([...(sources ?? [])].map(([table, columns]) => [table, columns && [...columns].sort()])),
      ]
    }
    expect(of('SELECT a FROM t WHERE b > 1')).toEqual([true, { t: ['a', 'b'] }])
    expect(of('SELECT count(*) FROM t')).toEqual([true, { t: null }])
    expect(of('SELECT rowid, a FROM t')).toEqual([true, { t: null }])
    expect(of('WITH x AS (SELECT id FROM u) SELECT a FROM t WHERE c IN (SELECT id FROM x)')).toEqual([
      true,
      { t: ['a', 'c'], u: ['id'] },
    ])
    expect(of('UPDATE t SET a = 1 WHERE b = 2')).toEqual([false, { t: ['b'] }])
    expect(of('INSERT INTO t (a) SELECT x FROM u')).toEqual([false, { u: ['x'] }])
    db.close()
  })

  test('a column of a result knows the column of a table that it shows', () => {
    const db = open()
    db.exec('CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 2)')
    expect(db.prepareForApplication('SELECT a AS x, T.b, a + 1 AS sum FROM t AS T').columns()).toEqual([
      { name: 'x', table: 't', column: 'a' },
      { name: 'b', table: 't', column: 'b' },
      { name: 'sum', table: null, column: null },
    ])
    const all = db.prepareForApplication('SELECT * FROM t')
    all.all()
    db.exec('ALTER TABLE t ADD COLUMN c')
    expect(all.all()).toEqual([[1, 2, null]])
    expect(all.columns().map(({ name }) => name)).toEqual(['a', 'b', 'c'])
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

describe('a statement that takes too long', () => {
  const endless = 'WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n'

  test('is interrupted, and the next one runs', () => {
    const db = wasmSqlite(sqlite3, { path: ':memory:' })
    let looks = 0
    db.interruptWhen(() => ++looks > 50)
    let code: number | null = null
    try {
      db.prepareForApplication(endless).all()
    } catch (error) {
      code = sqliteCode(error)
    }
    expect(code).toBe(9)
    expect(looks).toBe(51)
    db.interruptWhen(null)
    expect(db.prepare('SELECT 1').all()).toEqual([[1]])
    expect(looks).toBe(51)
    db.close()
  })

  test('is interrupted when the check throws', () => {
    const db = wasmSqlite(sqlite3, { path: ':memory:' })
    const log = vi.spyOn(console, 'error').mockImplementation(() => {})
    db.interruptWhen(() => {
      throw new Error('a fault of ours')
    })
    expect(() => db.prepare(endless).all()).toThrow('interrupted')
    expect(log).toHaveBeenCalledOnce()
    log.mockRestore()
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
