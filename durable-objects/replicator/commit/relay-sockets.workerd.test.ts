import { env, runInDurableObject } from 'cloudflare:test'
import { afterEach, expect, test, vi } from 'vitest'
import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import { hashName } from '../../../protocol/names.ts'
import { Relay } from '../../relay/relay.ts'
import { hashedFrames, noticeFrames } from './notice.ts'
import type { Commit } from './pipeline.ts'
import { CLOCK } from '../../shared/clock.ts'
import { durableDatabase } from '../../shared/durable-database.ts'
import { untilAnswered } from '../../shared/retry.ts'
import { Store } from '../store/store.ts'
import { tenantOf } from '../../../test/support/tenant.ts'
import { connectRelay } from './relay-connection.ts'
import { RelaySockets } from './relay-sockets.ts'

const PING_MS = 30_000
const stub = env.REPLICATOR.getByName('default')

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

test('a relay that does not answer any more, not even with a close, gets another socket', async () => {
  const silent: WebSocket[] = []
  vi.spyOn(Relay.prototype, 'fetch').mockImplementation(async () => {
    const [client, socket] = Object.values(new WebSocketPair())
    if (!client || !socket) throw new Error('the runtime made no pair of sockets')
    // Nobody accepts it: it takes everything.
    silent.push(socket)
    return new Response(null, { status: 101, webSocket: client })
  })
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  await stub.attach({ v: MESSAGE_VERSION, relay: 'default/main/0' })
  await vi.waitUntil(() => silent.length === 1, 10_000)
  const pinged = async () => {
    await runInDurableObject(stub, () => void vi.advanceTimersByTime(PING_MS))
    return silent.length >= 2
  }
  await vi.waitUntil(pinged, 10_000)
  expect((await stub.status({ v: MESSAGE_VERSION })).relays).toBe(1)
})

test('a relay of version 1 is sent hashes without ops, and a gap as greeting; one of this version is sent names', async () => {
  const commit: Commit = { checkpoint: 6, previous: 5, plan: 'p', upTo: 1, buckets: [['its name', 2, 7, 6, 'ops']] }
  const received: Record<string, unknown[]> = {}
  const open = (relay: string) => {
    const [client, socket] = Object.values(new WebSocketPair())
    if (!client || !socket) throw new Error('the runtime made no pair of sockets')
    socket.accept()
    const frames: unknown[] = (received[relay] = [])
    socket.addEventListener('message', ({ data }) => frames.push(JSON.parse(String(data))))
    const headers = { 'rockpool-checkpoint': '5', ...(relay === 'old' ? {} : { 'rockpool-names': 'name' }) }
    return new Response(null, { status: 101, webSocket: client, headers })
  }
  vi.spyOn(Relay.prototype, 'fetch').mockImplementation(async function (this: unknown, request: Request) {
    return open(new URL(request.url).searchParams.get('serial') === '1' ? 'old' : 'new')
  })
  await runInDurableObject(env.REPLICATOR.getByName('relays'), async (_, { storage }) => {
    const store = new Store(durableDatabase(storage), { reset: () => {} })
    const { state } = store
    state.set('commit', {
      ...state.get('commit'),
      committed: 6,
      plan: 'p',
      named: { previous: 5, parts: noticeFrames(commit) },
    })
    const relays = new RelaySockets({
      store,
      clock: CLOCK,
      connect: (relay, serial) => connectRelay(env, tenantOf({}), relay, { serial, revision: 0 }),
      untilAnswered: (call, retry) => untilAnswered(call, { ...retry, deadlineMs: 10_000 }),
    })
    for (const relay of ['default/forms/0', 'default/forms/1']) relays.attach(relay)
    await vi.waitUntil(() => received.old?.length === 1 && received.new?.length === 1, 10_000)
    relays.notice(noticeFrames({ ...commit, previous: 6, checkpoint: 7 }), () =>
      hashedFrames({ ...commit, previous: 6, checkpoint: 7 }),
    )
    await vi.waitUntil(() => received.old?.length === 2 && received.new?.length === 2, 10_000)
  })
  expect(received.old).toMatchObject([
    { type: 'gap' },
    { type: 'notice', buckets: [[hashName('its name'), 2, 7, 6, null]] },
  ])
  expect(received.old?.[1]).not.toHaveProperty('form')
  expect(received.new).toMatchObject([
    { type: 'notice', checkpoint: 6, form: 'name', buckets: [['its name', 2, 7, 6, 'ops']] },
    { type: 'notice', checkpoint: 7, form: 'name' },
  ])
})
