import { expect, test } from 'vitest'
import { combinePlans, compile, joinColumns } from '../index.ts'
import type { Plan } from '../types.ts'

function planOf(yaml: string): Plan {
  const result = compile(yaml)
  if (!result.ok) throw new Error(JSON.stringify(result.errors))
  return result.plan
}
const read = (yaml: string, name: string) => {
  const { all, read: columns, named } = combinePlans([planOf(yaml)]).columns({ schema: 'public', name })
  return { all, read: [...columns].sort(), named: [...named].sort() }
}
const config = `
bucket_definitions:
  mine:
    parameters: SELECT team, region FROM members WHERE login = request.user_id() AND NOT gone
    data:
      - SELECT id, name AS label, length(body) AS size FROM docs WHERE team = bucket.team AND area = bucket.region AND NOT old
  tagged:
    parameters: SELECT request.user_id() AS uid
    data:
      - SELECT id FROM notes WHERE bucket.uid IN notes.readers
  everything:
    data:
      - SELECT * FROM plain WHERE public = 1
      - SELECT id, title FROM "log_%"
event_definitions:
  write_checkpoints:
    payloads:
      - SELECT user_id, client_id, n AS checkpoint FROM checkpoints
`

test('what is selected, compared, walked and looked up is read', () => {
  expect(read(config, 'docs')).toMatchObject({ all: false, read: ['area', 'body', 'id', 'name', 'old', 'team'] })
  expect(read(config, 'docs').named).toEqual(read(config, 'docs').read)
  expect(read(config, 'members').read).toEqual(['gone', 'login', 'region', 'team'])
  expect(read(config, 'notes').read).toEqual(['id', 'readers'])
  expect(read(config, 'checkpoints').read).toEqual(['client_id', 'n', 'user_id'])
  expect(read(config, 'others')).toEqual({ all: false, read: [], named: [] })
})

test('SELECT * reads all; what stands under a wildcard is not asked of each table', () => {
  expect(read(config, 'plain')).toEqual({ all: true, read: ['public'], named: ['public'] })
  expect(read(config, 'log_2026')).toEqual({ all: false, read: ['id', 'title'], named: [] })
})

test('several plans read together what each reads', () => {
  const one = planOf('bucket_definitions:\n  a:\n    data:\n      - SELECT id, x FROM t\n')
  const other = planOf('config:\n  edition: 2\nbucket_definitions:\n  a:\n    data:\n      - SELECT id, y FROM t\n')
  const { all, read: columns } = combinePlans([one, other]).columns({ schema: 'public', name: 't' })
  expect([all, [...columns].sort()]).toEqual([false, ['id', 'x', 'y']])
  expect(joinColumns([]).all).toBe(false)
})
