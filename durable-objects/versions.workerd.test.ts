import { env, evictDurableObject } from 'cloudflare:test'
import { describe, expect, test, vi } from 'vitest'
import { MESSAGE_VERSION, understands } from '../protocol/versions.ts'
import { ackFrame, replicatorFrame, streamFrame, type NoticeBucket } from '../protocol/messages/relay.ts'
import { bucketObjectName, hashName } from '../protocol/names.ts'
import { relayFrameOf } from '../workers/stream/upstream.ts'
import { everyNameIsATenant } from '../test/support/tenant.ts'
import { Replicator } from './replicator/replicator.ts'

everyNameIsATenant({})

// A deploy lets old and new code meet. What comes from code of the version before or after is played here by messages
// of that version, with a member that this one does not know.
const BESIDE = [MESSAGE_VERSION - 1, MESSAGE_VERSION, MESSAGE_VERSION + 1]
const APART = [MESSAGE_VERSION - 2, MESSAGE_VERSION + 2]
const bucketEntry: NoticeBucket = ['a', 1, 2, 3, null]
const form = 'name'

const FRAMES: [string, (text: string) => unknown, object][] = [
  [
    'notice',
    replicatorFrame,
    { type: 'notice', checkpoint: 2, previous: 1, plan: null, part: 1, parts: 1, buckets: [bucketEntry], form },
  ],
  ['gap', replicatorFrame, { type: 'gap', checkpoint: 2, plan: 'p', form }],
  ['gap while rows are compared', replicatorFrame, { type: 'gap', checkpoint: 2, plan: 'p', form, comparing: 0.5 }],
  ['subscribe', streamFrame, { type: 'subscribe', seq: 1, add: ['a'], remove: [], form }],
  ['ack of a stream', streamFrame, { type: 'ack', received: 5 }],
  ['ack of a relay', ackFrame, { type: 'ack', received: 5 }],
  ['update', relayFrameOf, { type: 'update', checkpoint: 2, plan: 'p', seq: null, buckets: [bucketEntry], form }],
  [
    'update while rows are compared',
    relayFrameOf,
    { type: 'update', checkpoint: 2, plan: 'p', seq: null, buckets: [], form, comparing: 0 },
  ],
]

test('each version understands itself and those beside it, and so each of two that meet understands the other', () => {
  for (const own of [1, 2, 7]) {
    expect([own - 2, own - 1, own, own + 1, own + 2].map((other) => understands(other, own))).toEqual([
      false,
      true,
      true,
      true,
      false,
    ])
    expect(understands(own, own + 1)).toBe(understands(own + 1, own))
  }
})

describe.each(FRAMES)('%s', (_, read, frame) => {
  test.each(BESIDE)('of version %i is read, whatever else it says', (v) => {
    expect(read(JSON.stringify({ v, ...frame, later: { a: 1 } }))).toEqual({ v, ...frame })
  })
  test.each(APART)('of version %i is not', (v) => {
    expect(read(JSON.stringify({ v, ...frame }))).toBeNull()
  })
})

const bucket = async (name: string) => env.BUCKET.getByName(await bucketObjectName('default', name))
const replicator = () => env.REPLICATOR.getByName('versions')
const PAGE = { first: 1, last: 1, count: 1, checksum: 7, body: '{"op_id":"1","op":"MOVE","checksum":7}', committed: 0 }

const CALLS: [string, (v: number) => Promise<unknown>][] = [
  ['append', async (v) => await (await bucket(`b${v}`)).append({ v, ...PAGE })],
  ['state', async (v) => await (await bucket(`b${v}`)).state({ v, checkpoint: 1 })],
  ['read', async (v) => await (await bucket(`b${v}`)).read({ v, after: 0, checkpoint: 1, budget: 1_000 })],
  ['rows', async (v) => await (await bucket(`b${v}`)).rows({ v, checkpoint: 1 })],
  ['publish', async (v) => await (await bucket(`b${v}`)).publish({ v, checkpoint: 1, plan: null })],
  ['remove', async (v) => await (await bucket(`gone${v}`)).remove({ v, serial: 1 })],
  ['idle', async (v) => await (await bucket(`b${v}`)).idle({ v, before: 1 })],
  ['erase', async (v) => await (await bucket(`erased${v}`)).erase({ v, upTo: 1 })],
  ['watch', async (v) => await replicator().watch({ v, bucket: 'b' })],
  ['left', async (v) => await replicator().left({ v, bucket: 'b' })],
  ['streamsAt', async (v) => await replicator().streamsAt({ v, level: 'warn', streams: 1 })],
  ['attach', async (v) => await replicator().attach({ v, relay: 'versions/main/0' })],
  ['committed', async (v) => await replicator().committed({ v })],
  ['plan', async (v) => await replicator().plan({ v, hash: 'none' })],
  ['status', async (v) => await replicator().status({ v })],
  ['wake', async (v) => await replicator().wake({ v })],
]

describe.each(CALLS)('the call %s', (_, call) => {
  test.each(BESIDE)('of version %i is answered', async (v) => {
    await call(v)
  })
  test.each(APART)('of version %i is refused', async (v) => {
    await expect(call(v)).rejects.toMatchObject({ code: 'ROCKPOOL_MESSAGE_VERSION' })
  })
})

// They need a database: its lack is what goes wrong, not the version.
const WRITES: [string, (v: number) => Promise<unknown>][] = [
  ['writeCheckpoint', async (v) => await replicator().writeCheckpoint({ v, user: 'u', clientId: 'c' })],
  ['checkpointRequest', async (v) => await replicator().checkpointRequest({ v, user: 'u', clientId: 'c', id: '1' })],
]
describe.each(WRITES)('the call %s', (_, call) => {
  test.each(BESIDE)('of version %i is understood', async (v) => {
    const outcome = await call(v).catch((error: unknown) => error)
    expect(outcome).not.toMatchObject({ code: 'ROCKPOOL_MESSAGE_VERSION' })
  })
  test.each(APART)('of version %i is refused', async (v) => {
    await expect(call(v)).rejects.toMatchObject({ code: 'ROCKPOOL_MESSAGE_VERSION' })
  })
})

// Versions of the replicator and of the stream. Version 1 calls buckets by hashes. (Code of version 1 between them:
// `replicator/relays.workerd.test.ts`, `workers/stream/stream.test.ts`.)
const PAIRS: [number, number][] = [
  [1, 1],
  [1, 2],
  [2, 1],
  [2, 2],
  [3, 2],
  [2, 3],
  [3, 3],
]

test.each(PAIRS)(
  'a relay between a replicator of version %i and a stream of version %i, asleep and awake',
  async (replicatorV, streamV) => {
    vi.spyOn(Replicator.prototype, 'attach').mockResolvedValue()
    vi.spyOn(Replicator.prototype, 'committed').mockResolvedValue({ checkpoint: 5, plan: 'p' })
    const relay = env.RELAY.getByName(`default/versions/${replicatorV}-${streamV}`)
    const open = async (path: string, v: number) => {
      const { webSocket } = await relay.fetch(`https://relay/${path}`, { headers: { upgrade: 'websocket' } })
      if (!webSocket) throw new Error('no socket')
      webSocket.accept()
      const received: unknown[] = []
      webSocket.addEventListener('message', ({ data }) => received.push(JSON.parse(String(data))))
      const form = v === 1 ? {} : { form: 'name' }
      return { received, send: (frame: object) => webSocket.send(JSON.stringify({ v, ...form, ...frame })) }
    }
    const called = (v: number, name: string) => (v === 1 ? hashName(name) : name)
    const stream = await open('stream', streamV)
    const heard = (i: number) => {
      const frame = relayFrameOf(JSON.stringify(stream.received[i]))
      return [frame?.checkpoint, ...(frame?.buckets ?? []).map(([name]) => name)]
    }
    const source = await open('replicator?serial=1', replicatorV)
    const change = async (name: string, at: number) => {
      const object = await bucket(name)
      await object.append({ v: MESSAGE_VERSION, ...PAGE, first: at, last: at })
      const entry = [called(replicatorV, name), at - 5, 1, at, replicatorV === 1 ? null : 'ops']
      source.send({ type: 'notice', checkpoint: at, previous: at - 1, plan: 'p', part: 1, parts: 1, buckets: [entry] })
    }
    source.send({ type: 'gap', checkpoint: 5, plan: 'p' })
    await vi.waitFor(() => expect(stream.received.length).toBe(1))
    const names = ['it', 'another'].map((name) => `${name} of ${replicatorV}-${streamV}`)
    const [it = '', another = ''] = names
    stream.send({ type: 'subscribe', seq: 1, add: names, remove: [] })
    await vi.waitFor(() => expect(stream.received[1]).toMatchObject({ type: 'update', seq: 1 }))
    await change(it, 6)
    await vi.waitFor(() => expect(heard(2)).toEqual([6, called(streamV, it)]))
    // It does not sleep while its replicator says hashes.
    if (replicatorV > 1) await evictDurableObject(relay)
    await change(another, 7)
    await vi.waitFor(() => expect(heard(3)).toEqual([7, called(streamV, another)]))
    stream.send({ type: 'subscribe', seq: 2, add: [], remove: [called(streamV, another)] })
    stream.send({ type: 'subscribe', seq: 3, add: [`more of ${replicatorV}-${streamV}`], remove: [] })
    await vi.waitFor(() => expect(stream.received[4]).toMatchObject({ seq: 3 }))
    await change(another, 8)
    await change(it, 9)
    await vi.waitFor(() => expect(heard(5)).toEqual([9, called(streamV, it)]))
    for (const frame of stream.received) expect(relayFrameOf(JSON.stringify(frame))).not.toBeNull()
    vi.restoreAllMocks()
  },
)
