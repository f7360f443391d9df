import { afterAll, beforeAll, expect, test } from 'vitest'
import { Setting } from '../scenarios/setting.ts'
import { HttpLines } from '../wire/lines.ts'
import { errorOf, ERROR, RSocketClient } from '../wire/rsocket.ts'
import { RawWebSocket } from '../wire/web-socket.ts'

// One valid token, and one request whose work grows with the square of its length: at 6,000 subscriptions it stopped
// every other client of the isolate for ten seconds. Nothing here looks at a clock: what is refused costs nothing.

const FLOOD = 6_000
let setting: Setting

beforeAll(async () => {
  setting = await Setting.start()
})
afterAll(async () => {
  await setting?.end()
})

const subscriptions = (count: number) =>
  Array.from({ length: count }, () => ({ stream: 'all_items', parameters: null }))
const flood = { raw_data: true, streams: { subscriptions: subscriptions(FLOOD) } }
const reason = /streams\.subscriptions: has 6000 entries; at most 1000 are allowed/

test('many subscriptions in one request are refused on every transport, and other clients are answered meanwhile', async () => {
  const token = await setting.token('mallory')
  const post = await fetch(`${setting.edge.url}/sync/stream`, {
    method: 'POST',
    headers: { authorization: `Token ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(flood),
  })
  const { error }: { error: { code: string; description: string } } = await post.json()
  expect([post.status, error.code, error.description]).toEqual([400, 'PSYNC_S2001', expect.stringMatching(reason)])

  const native = await RawWebSocket.open(setting.edge.url)
  native.send(JSON.stringify({ open: flood, token, credit: 100_000 }))
  expect(JSON.parse(String(await native.next())).error).toEqual({
    code: 'PSYNC_S2001',
    message: expect.stringMatching(reason),
  })

  const rsocket = await RSocketClient.open(setting.edge.url)
  rsocket.setup({ token })
  rsocket.request(10, flood)
  expect(errorOf(await rsocket.until(ERROR)).message).toMatch(/^\[PSYNC_S2001\] streams\.subscriptions/)

  expect((await fetch(`${setting.edge.url}/probes/liveness`)).status).toBe(200)
  expect(await setting.first('alice')).not.toEqual([])
})

test('as many as are allowed are one bucket with as many reasons', async () => {
  const body = { raw_data: true, streams: { include_defaults: false, subscriptions: subscriptions(1_000) } }
  const lines = await HttpLines.open(setting.edge.url, await setting.token('alice'), body)
  const [first] = await lines.until('checkpoint_complete')
  lines.close()
  if (!first || !('checkpoint' in first)) throw new Error('no checkpoint came first')
  expect(first.checkpoint.buckets).toHaveLength(1)
  expect(first.checkpoint.buckets[0]?.subscriptions).toHaveLength(1_000)
})

test('a body that is too large is refused before it is parsed', async () => {
  const body = JSON.stringify({ parameters: { a: Array.from({ length: 1_400_000 }, () => ({})) } })
  const post = await fetch(`${setting.edge.url}/sync/stream`, {
    method: 'POST',
    headers: { authorization: `Token ${await setting.token('mallory')}`, 'content-type': 'application/json' },
    body,
  })
  const { error }: { error: { code: string; description: string } } = await post.json()
  expect([post.status, error.code, error.description]).toEqual([
    400,
    'PSYNC_S2001',
    'the body is larger than 1048576 bytes',
  ])
})
