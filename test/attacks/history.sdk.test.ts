import { afterAll, beforeAll, expect, test } from 'vitest'
import { token } from '../support/support.ts'
import { HttpLines } from '../wire/lines.ts'
import { attacked, checkpoint, checkpointsUntil, type Attacked } from './setting.ts'

// Who joins a bucket is entitled to its rows as they are now: not to what was corrected, deleted or moved elsewhere
// before he came. A client of the application shows none of that, but the lines of a stream can be read by hand.

const TABLES = `
create table notes (id text primary key, room text not null, text text not null);
create table members (id text primary key, room text not null, user_id text not null);
insert into members values ('m1', 'hall', 'ann');
`
const CONFIG = `bucket_definitions:
  rooms:
    parameters: SELECT room FROM members WHERE user_id = request.user_id()
    data:
      - SELECT id, room, text FROM notes WHERE room = bucket.room
  public:
    data:
      - SELECT id, text FROM notes WHERE room = 'hall'
`
const SECRETS = ['salary of Ann', 'gossip', 'for the board', 'first draft', 'second draft']
let it: Attacked

beforeAll(async () => {
  it = await attacked(TABLES, CONFIG)
  const sql = it.postgres.sql()
  const ann = await it.stream('ann', 'a')
  await checkpoint(ann)
  await sql`insert into notes values ('n1', 'hall', 'salary of Ann: 90000'), ('n2', 'hall', 'gossip'), ('n3', 'hall', 'for the board'), ('n4', 'hall', 'first draft')`
  await sql`update notes set text = 'redacted' where id = 'n1'`
  await sql`delete from notes where id = 'n2'`
  await sql`update notes set room = 'board' where id = 'n3'`
  await sql`update notes set text = 'second draft' where id = 'n4'`
  // So large that what supersedes the drafts is in another read than they are.
  await sql`insert into notes select 'f' || n, 'hall', repeat('filler ', 2000) from generate_series(1, 60) n`
  await sql`update notes set text = 'final' where id = 'n4'`
  await checkpointsUntil(ann, 'final')
  ann.close()
  await sql`insert into members values ('m2', 'hall', 'mallory')`
  const mallory = await it.stream('mallory', 'm')
  await checkpointsUntil(mallory, '#rooms')
  mallory.close()
})

afterAll(async () => {
  await it?.stop()
})

/** Nothing of what was, and everything that is. */
function isOfNow(text: string): void {
  for (const secret of SECRETS) expect(text, secret).not.toContain(secret)
  expect(text).toContain('redacted')
  expect(text).toContain('final')
  expect(text.match(/filler filler/g)?.length).toBeGreaterThan(60)
}

test('a client that joins later is sent no earlier text of a row', async () => {
  const lines = await it.stream('mallory', 'm')
  const { text, buckets } = await checkpoint(lines)
  lines.close()
  isOfNow(text)
  const ops = text.match(/"op_id":/g)?.length
  expect(buckets).toHaveLength(2)
  expect(buckets.reduce((sum, { count }) => sum + count, 0)).toBe(ops)
})

test('nor does a client get it by claiming an earlier position', async () => {
  const first = await it.stream('mallory', 'm')
  const { buckets } = await checkpoint(first)
  first.close()
  for (const after of ['1', '3', '6']) {
    const body = { raw_data: true, client_id: 'm', buckets: buckets.map(({ bucket: name }) => ({ name, after })) }
    const lines = await HttpLines.open(it.edge.url, await token(it.secret, 'mallory'), body)
    const { text } = await checkpoint(lines)
    lines.close()
    isOfNow(text)
  }
})

test('nor by following the bucket directly', async () => {
  const jwt = await token(it.secret, 'mallory')
  const answer = await fetch(`${it.edge.url}/buckets`, { headers: { authorization: `Token ${jwt}` } })
  const { data } = (await answer.json()) as { data: { buckets: { bucket: string }[] } }
  const path = `/buckets/${encodeURIComponent(data.buckets[0]?.bucket ?? '')}/stream`
  const socket = new WebSocket(it.edge.url.replace('http', 'ws') + path, ['rockpool.direct', jwt])
  let text = ''
  let frames = 0
  await new Promise<void>((resolve, reject) => {
    socket.onmessage = ({ data }) => {
      text += String(data)
      socket.send(JSON.stringify({ ack: ++frames }))
      if (String(data).includes('"checkpoint"')) resolve()
    }
    socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`))
  })
  socket.close()
  isOfNow(text)
})
