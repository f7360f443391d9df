import { env, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import {
  CLOSE_BUCKET_FENCED,
  CLOSE_RELAY_FULL,
  type NoticeBucket,
  type RelayFrame,
} from '../../protocol/messages/relay.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import { bucketObjectName } from '../../protocol/names.ts'
import { putChecksum } from '../../protocol/op-checksum.ts'
import { opText } from '../../protocol/op-text.ts'
import { budgetOf } from '../../tenants/budget.ts'
import { tenantOfBindings } from '../../tenants/from-bindings.ts'
import { SingleTenant } from '../../tenants/single.ts'
import { Replicator } from '../replicator/replicator.ts'
import { MAX_SUBSCRIPTIONS, rooms } from './room.ts'

// The replicator's side is played by the test: what the relay asks of it is answered here, and the test opens the
// socket.
// The file is long because sockets, hibernation and alarms are tested on one object in the runtime.
let committed = 0
let attached: string[] = []
let relays = 0
const opened: Socket[] = []

beforeEach(() => {
  committed = 0
  attached = []
  vi.spyOn(Replicator.prototype, 'attach').mockImplementation(async ({ relay }) => void attached.push(relay))
  vi.spyOn(Replicator.prototype, 'committed').mockImplementation(async () => ({ checkpoint: committed, plan: 'p' }))
})
afterEach(() => {
  for (const socket of opened.splice(0)) socket.close()
  vi.restoreAllMocks()
})

class Socket {
  readonly #socket: WebSocket
  readonly #received: unknown[] = []
  #wake: () => void = () => {}

  constructor(socket: WebSocket) {
    this.#socket = socket
    socket.accept()
    socket.addEventListener('message', ({ data }) => this.#take(data === 'pong' ? data : JSON.parse(String(data))))
    socket.addEventListener('close', ({ code }) => this.#take({ closed: code }))
    opened.push(this)
  }

  #take(what: unknown): void {
    this.#received.push(what)
    this.#wake()
  }

  async next<T = RelayFrame>(): Promise<T> {
    while (this.#received.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve))
    return this.#received.shift() as T
  }

  get waiting(): number {
    return this.#received.length
  }

  send(message: unknown): void {
    this.#socket.send(typeof message === 'string' ? message : JSON.stringify(message))
  }

  close(): void {
    this.#socket.close()
  }
}

const newRelay = () => env.RELAY.getByName(`default/main/${++relays}`)

async function open(relay: DurableObjectStub, path: string): Promise<{ socket: Socket; has: string | null }> {
  const response = await relay.fetch(`https://relay/${path}`, { headers: { upgrade: 'websocket' } })
  if (!response.webSocket) throw new Error(`answered ${response.status}`)
  return { socket: new Socket(response.webSocket), has: response.headers.get('rockpool-checkpoint') }
}

const subscribe = (seq: number, add: string[], remove: string[] = []) => ({
  v: MESSAGE_VERSION,
  type: 'subscribe',
  form: 'name',
  seq,
  add,
  remove,
})
const gap = (checkpoint: number) => ({ v: MESSAGE_VERSION, type: 'gap', checkpoint, plan: 'p', form: 'name' })
const notice = (previous: number, checkpoint: number, buckets: NoticeBucket[], part = 1, parts = 1) => ({
  v: MESSAGE_VERSION,
  type: 'notice',
  checkpoint,
  previous,
  plan: 'p',
  part,
  parts,
  form: 'name',
  buckets,
})

/** One op in a bucket. */
async function append(bucket: string, id: number): Promise<NoticeBucket> {
  const data = `{"n":${id}}`
  const checksum = putChecksum('t', 'x', data)
  const body = opText(id, { op: 'PUT', objectType: 't', objectId: 'x', subkey: 's', checksum, data })
  const object = env.BUCKET.getByName(await bucketObjectName('default', bucket))
  const state = await object.append({ v: MESSAGE_VERSION, first: id, last: id, count: 1, checksum, body, committed: 0 })
  return [bucket, state.count, state.checksum, state.last, body]
}

/** A relay at checkpoint 10 and a stream that has subscribed to `names`. */
async function settled(names: string[]) {
  committed = 10
  const relay = newRelay()
  const stream = (await open(relay, 'stream')).socket
  await vi.waitFor(() => expect(attached.length).toBe(1))
  const replicator = (await open(relay, 'replicator?serial=1')).socket
  replicator.send(gap(10))
  await stream.next()
  stream.send(subscribe(1, names))
  const answer = await stream.next()
  return { relay, stream, replicator, answer }
}

test('without streams the replicator is refused, and nothing is stored', async () => {
  const relay = newRelay()
  const response = await relay.fetch('https://relay/replicator?serial=1', { headers: { upgrade: 'websocket' } })
  expect(response.status).toBe(410)
  const left = await runInDurableObject(relay, async (_relay, state) => ({
    tables: state.storage.sql.exec('SELECT name FROM sqlite_master').toArray(),
    alarm: await state.storage.getAlarm(),
  }))
  expect(left).toEqual({ tables: [], alarm: null })
})

test('a stream is greeted at what was committed when it came, is answered with states at one checkpoint, and told what changes', async () => {
  committed = 20
  const relay = newRelay()
  const entry = await append('a', 7)
  const { socket: stream } = await open(relay, 'stream')
  await vi.waitFor(() => expect(attached).toEqual([`default/main/${relays}`]))
  const { socket: replicator, has } = await open(relay, 'replicator?serial=1')
  expect(has).toBe('')
  // 15 is older than what was committed when the stream came.
  replicator.send(gap(15))
  replicator.send(notice(15, 20, []))
  expect(await stream.next()).toEqual({
    v: MESSAGE_VERSION,
    type: 'update',
    checkpoint: 20,
    plan: 'p',
    seq: null,
    form: 'name',
    buckets: [],
  })
  stream.send(subscribe(1, ['a', 'empty']))
  expect(await stream.next()).toMatchObject({
    checkpoint: 20,
    seq: 1,
    buckets: [
      [entry[0], 1, entry[2], 7, null],
      ['empty', 0, 0, 0, null],
    ],
  })
  // Of another stream's bucket it hears nothing; of its own it gets the ops that came along, in two parts at one time.
  replicator.send(notice(20, 21, [['other', 1, 1, 21, null]]))
  const empty = await append('empty', 23)
  replicator.send(notice(21, 23, [empty], 1, 2))
  replicator.send(notice(21, 23, [['other', 2, 2, 22, null]], 2, 2))
  expect(await stream.next()).toMatchObject({ checkpoint: 23, seq: null, buckets: [empty] })
  stream.send('ping')
  expect(await stream.next()).toBe('pong')
  // A replicator that comes again hears where the relay is.
  expect((await open(relay, 'replicator?serial=2')).has).toBe('23')
})

test('after hibernation it knows whom to tell, and at which checkpoint it is', async () => {
  const { relay, stream, replicator } = await settled(['h', 'i'])
  await evictDurableObject(relay)
  const entry = await append('h', 12)
  replicator.send(notice(10, 12, [entry]))
  expect(await stream.next()).toMatchObject({ checkpoint: 12, buckets: [entry] })
  await evictDurableObject(relay)
  expect((await open(relay, 'replicator?serial=2')).has).toBe('12')
})

test('after hibernation a gap closes streams whose names were lost; they subscribe again', async () => {
  const { relay, stream, replicator } = await settled(['g'])
  await evictDurableObject(relay)
  replicator.send(gap(13))
  expect(await stream.next()).toEqual({ closed: 1012 })
})

test('after hibernation it knows which buckets are fenced: the streams of the others stay, and who comes for one is refused', async () => {
  const { relay, stream, replicator } = await settled(['mine'])
  const comes = async (seq: number, bucket: string) => {
    const { socket } = await open(relay, 'stream')
    expect(await socket.next()).toMatchObject({ seq: null })
    socket.send(subscribe(seq, [bucket]))
    const answer = await socket.next<RelayFrame | { closed: number }>()
    socket.close()
    return answer
  }
  replicator.send({ ...notice(10, 11, []), fenced: ['lacking'] })
  expect(await comes(1, 'lacking')).toEqual({ closed: CLOSE_BUCKET_FENCED })
  await evictDurableObject(relay)
  expect(await comes(1, 'lacking')).toEqual({ closed: CLOSE_BUCKET_FENCED })
  expect(await comes(1, 'whole')).toMatchObject({ checkpoint: 11, seq: 1 })
  await evictDurableObject(relay)
  const entry = await append('mine', 12)
  replicator.send({ ...notice(11, 12, [entry]), fenced: ['lacking'] })
  expect(await stream.next()).toMatchObject({ checkpoint: 12, buckets: [entry] })
  // And when the fence is lifted: a gap without a list.
  await evictDurableObject(relay)
  stream.send('ping')
  expect(await stream.next()).toBe('pong')
  replicator.send(gap(12))
  expect(await comes(1, 'lacking')).toMatchObject({ checkpoint: 12, seq: 1 })
  expect(attached).toHaveLength(1)
})

test('more fenced buckets than an attachment takes are not remembered: then the replicator is asked again, as by a relay that never had a checkpoint', async () => {
  const { relay, stream, replicator } = await settled(['mine'])
  const fenced = (most: number) => Array.from({ length: most }, (_, i) => `lacking${i}`)
  replicator.send({ ...notice(10, 11, [await append('mine', 11)]), fenced: fenced(950) })
  expect(await stream.next()).toMatchObject({ checkpoint: 11 })
  await evictDurableObject(relay)
  replicator.send({ ...notice(11, 12, [await append('mine', 12)]), fenced: fenced(951) })
  expect(await stream.next()).toMatchObject({ checkpoint: 12 })
  expect(attached).toHaveLength(1)
  await evictDurableObject(relay)
  stream.send('ping')
  expect(await relay.streams({ v: MESSAGE_VERSION })).toBe(1)
  expect(await replicator.next()).toEqual({ closed: 1012 })
  await vi.waitFor(() => expect(attached.length).toBe(2))
  expect((await open(relay, 'replicator?serial=2')).has).toBe('')
})

test('950 buckets are remembered through hibernation; with more the stream is closed', async () => {
  const names = Array.from({ length: 950 }, (_, i) => `many${i}`)
  const hashes = names.map((name): NoticeBucket => [name, 1, 1, 5, null])
  committed = 10
  const relay = newRelay()
  const few = (await open(relay, 'stream')).socket
  const many = (await open(relay, 'stream')).socket
  await vi.waitFor(() => expect(attached.length).toBe(1))
  const replicator = (await open(relay, 'replicator?serial=1')).socket
  replicator.send(gap(9))
  // Their states come with a notice: nobody has to ask 951 objects.
  few.send(subscribe(1, names))
  many.send(subscribe(1, [...names, 'more']))
  replicator.send(notice(9, 10, [...hashes, ['more', 1, 1, 5, null]]))
  await few.next()
  await many.next()
  expect((await few.next()).buckets.length).toBe(950)
  expect((await many.next()).buckets.length).toBe(951)
  await evictDurableObject(relay)
  replicator.send(notice(10, 11, [['many949', 2, 2, 11, null]]))
  expect(await few.next()).toMatchObject({ checkpoint: 11, buckets: [['many949', 2, 2, 11, null]] })
  expect(await many.next()).toEqual({ closed: 1012 })
})

test('a stream that acknowledges nothing gets no more than its credit, then one message with everything that is owed, without ops', async () => {
  const { stream, replicator } = await settled(['c', 'last'])
  const ops = 'x'.repeat(32 * 1024)
  let checkpoint = 10
  const change = (bucket: string) => {
    const count = checkpoint + 1
    replicator.send(notice(checkpoint, ++checkpoint, [[bucket, count, count, count, ops]]))
  }
  for (let n = 0; n < 40; n++) change('c')
  change('last')
  let bytes = 0
  const receive = async () => {
    const frame = await stream.next()
    bytes += JSON.stringify(frame).length
    return frame
  }
  // 256 KB are eight messages and a bit: the ninth still goes.
  for (let n = 0; n < 8; n++) expect((await receive()).buckets[0]?.[4]).toBe(ops)
  const acknowledged: { type: string; received: number } = await replicator.next()
  expect(acknowledged).toMatchObject({ type: 'ack' })
  while (stream.waiting > 0) await receive()
  expect(bytes).toBeLessThan(320 * 1024)
  stream.send({ v: MESSAGE_VERSION, type: 'ack', received: Number.MAX_SAFE_INTEGER })
  for (;;) {
    const frame = await receive()
    if (frame.buckets.every(([, , , , inline]) => inline !== null)) continue
    expect(frame).toMatchObject({
      checkpoint,
      buckets: [
        ['c', 50, 50, 50, null],
        ['last', 51, 51, 51, null],
      ],
    })
    break
  }
  expect(bytes).toBeLessThan(330 * 1024)
})

test('what the replicator sends is acknowledged, also what came before a sleep', async () => {
  const { relay, replicator, stream } = await settled(['s'])
  const text = (previous: number, checkpoint: number) =>
    JSON.stringify(notice(previous, checkpoint, [['s', checkpoint, 1, checkpoint, 'x'.repeat(60 * 1024)]]))
  replicator.send(text(10, 11))
  await stream.next()
  await evictDurableObject(relay)
  replicator.send(text(11, 12))
  await stream.next()
  const { received } = await replicator.next<{ received: number }>()
  expect(received).toBe(JSON.stringify(gap(10)).length + text(10, 11).length + text(11, 12).length)
})

test('streams are looked at by an alarm as long as there are any', async () => {
  const { relay, stream } = await settled(['r'])
  expect(await runDurableObjectAlarm(relay)).toBe(true)
  stream.send('ping')
  expect(await stream.next()).toBe('pong')
  expect(await runInDurableObject(relay, (_relay, state) => state.storage.getAlarm())).not.toBeNull()
  stream.close()
  await vi.waitFor(async () =>
    expect(await runInDurableObject(relay, (_relay, state) => state.getWebSockets('stream').length)).toBe(0),
  )
  await runDurableObjectAlarm(relay)
  expect(await runInDurableObject(relay, (_relay, state) => state.storage.getAlarm())).toBeNull()
})

test('a stream that has been silent for five minutes is closed, also one that never gave a sign of life; one that has just come is not', async () => {
  const { relay, stream } = await settled(['silent'])
  const pinging = (await open(relay, 'stream')).socket
  await pinging.next()
  pinging.send('ping')
  expect(await pinging.next()).toBe('pong')
  vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 6 * 60_000)
  const fresh = (await open(relay, 'stream')).socket
  await fresh.next()
  await runDurableObjectAlarm(relay)
  expect(await stream.next()).toEqual({ closed: 1000 })
  expect(await pinging.next()).toEqual({ closed: 1000 })
  expect(await relay.streams({ v: MESSAGE_VERSION })).toBe(1)
})

test('how far a comparison is, is told at once, also to who comes in the middle, and after a sleep', async () => {
  const { relay, stream, replicator } = await settled(['compared'])
  replicator.send({ ...gap(10), comparing: 0.25 })
  expect(await stream.next()).toEqual({
    v: MESSAGE_VERSION,
    type: 'update',
    checkpoint: 10,
    plan: 'p',
    seq: null,
    form: 'name',
    buckets: [],
    comparing: 0.25,
  })
  await evictDurableObject(relay)
  const late = (await open(relay, 'stream')).socket
  expect(await late.next()).toMatchObject({ checkpoint: 10, comparing: 0.25 })
  await evictDurableObject(relay)
  // It sleeps again and again: what it has told is remembered, and its end is heard, without a question of any bucket.
  replicator.send(gap(10))
  for (const each of [stream, late]) {
    const frame = await each.next()
    expect([frame.checkpoint, frame.buckets, 'comparing' in frame]).toEqual([10, [], false])
  }
  replicator.send(gap(10))
  stream.send('ping')
  expect(await stream.next()).toBe('pong')
})

test('a relay takes no stream while the others of its isolate have all the room, and says so; those that it has stay', async () => {
  const { relay, stream, replicator } = await settled(['p', 'q'])
  const others = rooms.of('another')
  others.has(MAX_SUBSCRIPTIONS - 2)
  const answer = await relay.fetch('https://relay/stream', { headers: { upgrade: 'websocket' } })
  expect(answer.status).toBe(503)
  const entry = await append('p', 11)
  replicator.send(notice(10, 11, [entry]))
  expect((await stream.next()).buckets).toEqual([entry])
  stream.send(subscribe(2, [], ['q']))
  await vi.waitFor(async () => expect((await open(relay, 'stream')).socket).toBeDefined())
  stream.send(subscribe(3, ['r', 's']))
  await vi.waitFor(async () => expect(await stream.next()).toEqual({ closed: CLOSE_RELAY_FULL }))
  others.has(0)
})

test('a tenant with as many streams as it may have gets no other, but for one of a client that has one; it is told once', async () => {
  const budget = budgetOf({ streams: { warn: 2, refuse: 3 } })
  vi.spyOn(SingleTenant.prototype, 'find').mockImplementation(async (name) =>
    tenantOfBindings(name, {}, '', null, budget),
  )
  const told: string[] = []
  vi.spyOn(Replicator.prototype, 'streamsAt').mockImplementation(
    async ({ level, streams }) => void told.push(`${level} ${streams}`),
  )
  const relay = newRelay()
  const ask = async (user: string, client: string) => {
    const url = `https://relay/stream?user=${user}&client=${client}`
    const { status, headers, webSocket } = await relay.fetch(url, { headers: { upgrade: 'websocket' } })
    if (webSocket) new Socket(webSocket)
    return [status, headers.get('rockpool-limit-of'), headers.get('retry-after')]
  }
  for (const user of ['a', 'b', 'c']) expect(await ask(user, 'phone')).toEqual([101, null, null])
  for (let n = 0; n < 20; n++) expect(await ask('a', 'laptop')).toEqual([429, 'tenant', '60'])
  expect(await ask('d', 'phone')).toEqual([429, 'tenant', '60'])
  expect(await ask('b', 'phone')).toEqual([101, null, null])
  expect(await relay.streams({ v: MESSAGE_VERSION })).toBe(3)
  await vi.waitFor(() => expect(told).toEqual(['warn 2', 'refuse 3']))
})
