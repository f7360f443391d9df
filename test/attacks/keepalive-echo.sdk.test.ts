import { afterAll, beforeAll, expect, test } from 'vitest'
import { Setting } from '../scenarios/setting.ts'
import { within } from '../support/support.ts'
import { ERROR, errorOf, KEEPALIVE, RSocketClient } from '../wire/rsocket.ts'

// A KEEPALIVE is answered with its data, and a WebSocket takes what nobody reads: 150 of 1 MB took 282 MB of an
// isolate.

let setting: Setting
beforeAll(async () => {
  setting = await Setting.start()
})
afterAll(() => setting?.end())

async function connect(user: string): Promise<RSocketClient> {
  const client = await RSocketClient.open(setting.edge.url)
  client.setup({ token: await setting.token(user), lifetimeMs: 900_000 })
  return client
}

test('a KEEPALIVE with much in it ends the connection instead of going back', async () => {
  const client = await connect('mallory')
  client.keepalive(Buffer.alloc(1_000_000))
  expect(errorOf(await client.until(ERROR))).toMatchObject({
    streamId: 0,
    code: 0x101,
    message: expect.stringMatching(/^\[ROCKPOOL_CLIENT_FRAME\] a KEEPALIVE/),
  })
  expect(await client.next()).toHaveProperty('closed')
})

test('endless small requests: a client that never shows that it reads is closed after 64 KB of answers', async () => {
  const client = await connect('mallory')
  for (let n = 0; n < 2_000; n++) client.keepalive(Buffer.alloc(64))
  let answered = 0
  for (;;) {
    const frame = await client.next()
    if ('closed' in frame) break
    if (frame.type === KEEPALIVE && (frame.flags & 0x80) === 0) answered += frame.body.length + 6
    if (frame.type === ERROR) expect(errorOf(frame).message).toMatch(/more than 65536 bytes of answers are not read/)
  }
  expect(answered).toBeGreaterThan(60_000)
  expect(answered).toBeLessThanOrEqual(65_536)
})

test('a client that requests everything, shows no receipt, and keeps itself alive is closed', async () => {
  const user = setting.newUser()
  await setting.postgres.sql()`insert into notes select ${user} || '-' || n, ${user}, repeat('x', 1000) from generate_series(1, 3000) n`
  await setting.replicated()
  const client = await connect(user)
  client.request(0x7fffffff, { raw_data: true })
  const alive = setInterval(() => client.keepalive(Buffer.alloc(0), false), 5_000)
  try {
    const error = await within('the end of the connection', client.until(ERROR), 200)
    expect(errorOf(error)).toMatchObject({
      streamId: 0,
      code: 0x101,
      message: expect.stringMatching(/^\[PSYNC_S2003\] the client has not confirmed/),
    })
  } finally {
    clearInterval(alive)
  }
})
