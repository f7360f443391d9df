import { expect, test } from 'vitest'
import { checkSingle, mayDo, mayRun } from './statements.ts'

test.each([
  'SELECT 1',
  ' -- a comment\n/* and */ insert into todos values (1)',
  'WITH x AS (SELECT 1) DELETE FROM todos',
  "UPDATE todos SET title = 'rp_thing'",
  'REPLACE INTO todos VALUES (1)',
])('without an authorizer %s may run', (sql) => expect(mayRun(sql)).toBe(true))

test.each([
  'COMMIT',
  '/* x */ ROLLBACK',
  ';savepoint a',
  'PRAGMA writable_schema = 1',
  'DROP TABLE todos',
  'CREATE TRIGGER t AFTER INSERT ON todos BEGIN SELECT 1; END',
  'ATTACH ? AS other',
  'VACUUM',
  'DELETE FROM rp_tx',
  `WITH x AS (SELECT 1) UPDATE main."RP_OUTBOX" SET op = 'put'`,
  "DELETE FROM 'rp_capture'",
])('without an authorizer %s may not run', (sql) => expect(mayRun(sql)).toBe(false))

test('with an authorizer our tables are written by our triggers only', () => {
  const [remove, insert, update, pragma, transaction] = [9, 18, 23, 19, 22]
  expect([mayDo(insert, 'todos', null), mayDo(update, 'todos', null), mayDo(remove, 'todos', null)]).toEqual([
    true,
    true,
    true,
  ])
  expect([
    mayDo(insert, 'rp_outbox', null),
    mayDo(remove, 'RP_tx', null),
    mayDo(update, 'sqlite_master', null),
  ]).toEqual([false, false, false])
  expect(mayDo(insert, 'rp_outbox', 'rp_put_todos')).toBe(true)
  expect([mayDo(pragma, 'query_only', null), mayDo(transaction, 'COMMIT', null)]).toEqual([false, false])
})

test('what follows the first statement is refused unless it is blank', () => {
  checkSingle('SELECT 1; -- done\n /* really */ ;', 'SELECT 1;')
  expect(() => checkSingle('INSERT 1; INSERT 2', 'INSERT 1;')).toThrow('one statement at a time')
})
