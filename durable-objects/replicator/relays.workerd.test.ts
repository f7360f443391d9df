import { env, runInDurableObject } from 'cloudflare:test'
import { afterEach, expect, test, vi } from 'vitest'
import { MESSAGE_VERSION } from '../../protocol/messages.ts'
import { Relay } from '../relay/object.ts'

const PING_MS = 30_000
const stub = env.REPLICATOR.getByName('default')

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

test('a relay that answers nothing any more, not even that its socket is closed, gets another socket', async () => {
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
