import { afterAll, beforeAll, expect, test } from 'vitest'
import { hash64 } from '../../protocol/hash.ts'
import { Operator } from '../support/deploys.ts'
import { collide } from './collide.ts'
import { attacked, checkpoint, checkpointsUntil, type Attacked } from './setting.ts'

// The author of a row chooses its text so that the row has the same 64-bit hash as what a moderator will make of it.
// Where a row is only sent when such a hash differs, the moderator's text never comes to any device.

const TABLES = 'create table posts (id text primary key, text text not null)'
const CONFIG = `bucket_definitions:
  posts:
    data:
      - SELECT id, text FROM posts
`
const REMOVED = '[removed by a moderator]'
let it: Attacked

beforeAll(async () => {
  it = await attacked(TABLES, CONFIG)
})

afterAll(async () => {
  await it?.stop()
})

test('an update reaches the clients, also when the row has the same 64-bit hash before and after it', async () => {
  const sql = it.postgres.sql()
  const reader = await it.stream('reader', 'r')
  await checkpoint(reader)
  const dataOf = (text: string) => JSON.stringify({ id: 'p1', text })
  await sql`insert into posts values ('p1', 'first')`
  expect(await checkpointsUntil(reader, 'first')).toContain(JSON.stringify(dataOf('first')))
  const [prefix = '', suffix = ''] = dataOf('Insulting text. #').split('#')
  const insult = `Insulting text. ${collide(prefix, suffix, hash64(dataOf(REMOVED)))}`
  expect(hash64(dataOf(insult))).toBe(hash64(dataOf(REMOVED)))
  await sql`update posts set text = ${insult} where id = 'p1'`
  await checkpointsUntil(reader, 'Insulting')
  await sql`update posts set text = ${REMOVED} where id = 'p1'`
  await sql`insert into posts values ('p2', 'later')`
  expect(await checkpointsUntil(reader, 'later')).toContain(REMOVED)
  const newcomer = await it.stream('newcomer', 'n')
  expect((await checkpoint(newcomer)).text).toContain(REMOVED)
  const { verify } = await new Operator(() => it.edge.url, it.secret).verify()
  expect([verify.state, verify.found]).toEqual(['done', 0])
  reader.close()
  newcomer.close()
})
