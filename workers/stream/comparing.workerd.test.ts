import { expect, test, vi } from 'vitest'
import type { Environment } from '../../durable-objects/environment.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import { secretSigner } from '../../test/support/signers.ts'
import { NativeStream } from '../transports/native.ts'
import { Budget } from './budget.ts'
import { Held } from './held.ts'
import { objectPorts } from './objects.ts'
import { tenantOf } from '../../test/support/tenant.ts'

// Between a relay that the test plays and a socket of a client, while no sync config serves: so nothing but this is
// told.

const secret = crypto.getRandomValues(new Uint8Array(32))
const update = (checkpoint: number, comparing?: number) => ({
  v: MESSAGE_VERSION,
  type: 'update',
  checkpoint,
  plan: null,
  seq: null,
  form: 'name',
  buckets: [],
  comparing,
})

function relays() {
  const sockets: WebSocket[] = []
  const RELAY = {
    getByName: () => ({
      fetch: async () => {
        const [ours, theirs] = Object.values(new WebSocketPair())
        if (!ours || !theirs) throw new Error('there are no sockets')
        theirs.accept()
        sockets.push(theirs)
        return new Response(null, { status: 101, webSocket: ours })
      },
    }),
  }
  const bindings = {
    RELAY,
    JWT_SECRET: Buffer.from(secret).toString('base64url'),
    JWT_AUDIENCE: 'app',
  } as unknown as Environment
  const say = (frame: object) => sockets.at(-1)?.send(JSON.stringify(frame))
  return { bindings, sockets, say }
}

test('a client of our own protocol is told how far a comparison is when that changes, also behind another relay, and that it is over', async () => {
  const { bindings, sockets, say } = relays()
  const sent: unknown[] = []
  const socket = { send: (text: string) => void sent.push(JSON.parse(text)), close: () => {} } as unknown as WebSocket
  const stream = new NativeStream(bindings, tenantOf(bindings), socket)
  // Without credit: it is no line that waits for that.
  stream.receive(JSON.stringify({ open: {}, token: await secretSigner('HS256', secret, 'app').sign({ sub: 'zoë' }) }))
  await vi.waitFor(() => expect(sockets).toHaveLength(1))
  for (const fraction of [undefined, 0.25, 0.25, 0.5]) say(update(7, fraction))
  await vi.waitFor(() => expect(sent).toEqual([{ comparing: 0.25 }, { comparing: 0.5 }]))
  sockets[0]?.close(1011)
  await vi.waitFor(() => expect(sockets).toHaveLength(2))
  say(update(7, 0.5))
  say(update(9))
  await vi.waitFor(() => expect(sent.slice(2)).toEqual([{ comparing: null }]))
  stream.gone()
})

test('what says nothing but that does not stop the sending of a checkpoint; it is acknowledged', async () => {
  const { bindings, sockets, say } = relays()
  const told: (number | null)[] = []
  const stop = new AbortController()
  const nothing = async () => {}
  const lines = { signal: stop.signal, room: nothing, send: nothing, data: nothing }
  const held = new Held()
  const owner = { user: 'zoë', client: 'phone', token: { user: 'a', client: 'b', iat: 1 } }
  const ports = objectPorts(
    bindings,
    tenantOf(bindings),
    owner,
    lines,
    new Budget({ calls: 1_000, bytes: 1 }, () => {}),
    held,
    (fraction) => told.push(fraction),
  )
  const upstream = await ports.connect()
  const acknowledged: unknown[] = []
  sockets[0]?.addEventListener('message', ({ data }) => acknowledged.push(JSON.parse(String(data))))
  say(update(7, 0.1))
  expect(await upstream.next()).toEqual(update(7, 0.1))
  const many = Array.from({ length: 700 }, (_, n) => (n % 100) / 100)
  for (const fraction of many) say(update(7, fraction))
  await vi.waitFor(() => expect(told).toEqual([0.1, ...many]))
  expect(upstream.waiting).toBe(0)
  await vi.waitFor(() => expect(acknowledged).toMatchObject([{ type: 'ack', received: expect.any(Number) }]))
  // Another checkpoint does, and a look at other claims is at the newest.
  say(update(8, 0.2))
  await vi.waitFor(() => expect(upstream.waiting).toBe(1))
  ports.again()
  expect([await upstream.next(), await upstream.next()]).toEqual([update(8, 0.2), update(8, 0.2)])
  stop.abort()
})
