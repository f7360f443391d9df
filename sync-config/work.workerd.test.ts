import { expect, test } from 'vitest'
import { compile, loadPlan } from './index.ts'

const stream = (sql: string) => compile(`config: {edition: 3}\nstreams:\n  s:\n    query: ${JSON.stringify(sql)}\n`)

test('the language runs in workerd, and the work of its SQL parser is counted there too', () => {
  const good = stream('SELECT id, upper(name) AS name FROM lists WHERE owner_id = auth.user_id()')
  if (!good.ok) throw new Error(JSON.stringify(good.errors))
  const { rows } = loadPlan(good.plan).evaluateRow(
    { schema: 'public', name: 'lists' },
    { id: '1', name: 'a', owner_id: 'ann' },
  )
  expect(rows.map((row) => row.data)).toEqual(['{"id":"1","name":"A"}'])
  const bad = stream(`SELECT id, ${'substring('.repeat(12)}a${')'.repeat(12)} AS x FROM t`)
  expect(bad.ok ? [] : bad.errors.map((error) => error.code)).toEqual(['sql-work'])
})
