import { afterAll, beforeAll, expect, test } from 'vitest'
import { startPostgres, type TestPostgres } from '../test/support/postgres.ts'
import { sql } from './sql.ts'

let postgres: TestPostgres
beforeAll(async () => void (postgres = await startPostgres()))
afterAll(() => postgres?.stop())

const printed = (text: string) => sql(text, { databaseUrl: postgres.url, data: '/nowhere' })

test('columns of one name are all shown', async () => {
  expect(await printed('SELECT 1 AS a, 2 AS a, NULL AS b')).toBe('a  a  b\n-  -  -\n1  2\n(1 row)')
})

test('statements run one after the other; those without rows show their command', async () => {
  const text =
    'CREATE TEMP TABLE t (id int); INSERT INTO t VALUES (1), (2); SELECT id FROM t; SELECT id FROM t WHERE false'
  expect(await printed(text)).toBe('INSERT 2\nid\n--\n1\n2\n(2 rows)\nid\n--\n(0 rows)')
})
