import { expect, test, vi } from 'vitest'
import { openNodeSqlite } from '../node-sqlite.ts'
import { migrate } from './storage.ts'
import { LOOK_ROWS, Unsynced } from './unsynced.ts'

test('a column is looked for in so many rows of a table, and no further', () => {
  const warned = vi.spyOn(console, 'warn').mockImplementation(() => {})
  const db = openNodeSqlite(':memory:')
  migrate(db)
  const rows = (last: number) => `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${last})
    INSERT INTO rp_ops (bucket, op_id, type, row_id, subkey, data)
    SELECT 1, i, 'todos', printf('%06d', i), '', iif(i = ${last}, '{"title":null}', '{}') FROM n`
  const look = () => new Unsynced(db, { tables: { todos: { columns: { title: 'text' } } } }).look(true)
  db.exec(rows(LOOK_ROWS))
  expect(look()).toEqual([])
  db.exec('DELETE FROM rp_ops')
  db.exec(rows(LOOK_ROWS + 1))
  expect(look()).toEqual(['todos.title'])
  expect(warned).toHaveBeenCalledTimes(1)
  vi.restoreAllMocks()
  db.close()
})
