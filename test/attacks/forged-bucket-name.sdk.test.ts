import { afterAll, beforeAll, expect, test } from 'vitest'
import { hash64 } from '../../protocol/hash.ts'
import { collide } from './collide.ts'
import { attacked, checkpoint, checkpointsUntil, NOTES_OF_OWNER, type Attacked } from './setting.ts'

// A user chooses a text that becomes part of the name of a bucket of her own, so that the name has the same 64-bit hash
// as that of another user's bucket. Where buckets are known by such a hash, the other's rows arrive on her stream.

const TABLES = `
create table lists (id text primary key, owner_id text not null);
create table items (id text primary key, list_id text not null, text text not null);
create table notes (id text primary key, owner_id text not null, text text not null);
insert into lists values ('l1', 'mallory');
insert into notes values ('a1', 'alice', 'old');
`
const CONFIG = `${NOTES_OF_OWNER}  items:
    parameters: SELECT id AS list_id FROM lists WHERE owner_id = request.user_id()
    data:
      - SELECT id, list_id, text FROM items WHERE list_id = bucket.list_id
`
let it: Attacked

beforeAll(async () => {
  it = await attacked(TABLES, CONFIG)
})

afterAll(async () => {
  await it?.stop()
})

test('rows of another user do not reach a stream with a bucket of the same 64-bit hash, and still reach their own', async () => {
  const sql = it.postgres.sql()
  const mallory = await it.stream('mallory', 'm')
  const alice = await it.stream('alice', 'a')
  await checkpoint(alice)
  const own = (await checkpoint(mallory)).buckets.map(({ bucket }) => bucket)
  const notes = own.find((name) => name.endsWith('["mallory"]')) ?? ''
  const [prefix = '', suffix = ''] = (own.find((name) => name.endsWith('["l1"]')) ?? '').split('l1')
  const alices = notes.replace('mallory', 'alice')
  const list = collide(prefix, suffix, hash64(alices))
  expect(hash64(prefix + list + suffix)).toBe(hash64(alices))
  await sql`insert into lists values (${list}, 'mallory')`
  await sql`insert into items values ('i1', ${list}, 'the list is there')`
  let came = await checkpointsUntil(mallory, 'the list is there')
  await sql`insert into notes values ('a2', 'alice', 'my new PIN is 4711')`
  await sql`update notes set text = 'my old PIN was 815' where id = 'a1'`
  await sql`insert into items values ('i2', ${list}, 'later')`
  expect(await checkpointsUntil(alice, '815')).toContain('4711')
  came += await checkpointsUntil(mallory, '"later')
  expect(came).not.toMatch(/PIN|alice/)
  mallory.close()
  alice.close()
})
