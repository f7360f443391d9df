import { afterAll, beforeAll, expect, test } from 'vitest'
import { hash64 } from '../../protocol/hash.ts'
import { collide } from './collide.ts'
import { attacked, checkpoint, NOTES_OF_OWNER, type Attacked } from './setting.ts'

// Every stream subscribes to a mailbox, whose name contains the user, and contained the client id. Clients choose the
// one, and many applications let users choose the other. Where a relay knows buckets by a 64-bit hash, what it is told
// of that (empty) mailbox is what it then tells of another user's bucket.

const TABLES = `
create table notes (id text primary key, owner_id text not null, text text not null);
insert into notes values ('b1', 'bob', 'one'), ('b2', 'bob', 'two');
`
let it: Attacked

beforeAll(async () => {
  it = await attacked(TABLES, NOTES_OF_OWNER)
})

afterAll(async () => {
  await it?.stop()
})

test("a user or a client id whose mailbox has the same 64-bit hash as another user's bucket does not make that bucket look empty", async () => {
  const first = await it.stream('eve', 'e')
  const [own] = (await checkpoint(first)).buckets
  first.close()
  const name = own?.bucket ?? ''
  const seed = /\.([0-9a-f]+)#/.exec(name)?.[1]
  const bobs = name.replace('eve', 'bob')
  const forged = (prefix: string, suffix: string) => {
    const text = collide(prefix, suffix, hash64(bobs))
    expect(hash64(prefix + text + suffix)).toBe(hash64(bobs))
    return text
  }
  // No such client id is taken any more.
  const refused = await it.stream('eve', forged(`mailbox.${seed}#["eve","`, '"]'))
  expect(refused.response.statusCode).toBe(400)
  const eve = await it.stream(forged(`mailbox.${seed}#["`, '"]'), 'e')
  await checkpoint(eve)
  const bob = await it.stream('bob', 'b')
  const { buckets, text } = await checkpoint(bob)
  expect(buckets).toEqual([{ bucket: bobs, count: 2 }])
  expect(text).toMatch(/one[\s\S]*two/)
  eve.close()
  bob.close()
})
