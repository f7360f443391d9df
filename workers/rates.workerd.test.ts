import { createExecutionContext, env, waitOnExecutionContext } from 'cloudflare:test'
import { beforeEach, describe, expect, test } from 'vitest'
import type { Environment } from '../durable-objects/environment.ts'
import { secretSigner } from '../test/support/signers.ts'
import { tenantOf } from '../test/support/tenant.ts'
import { tenantOfBindings } from '../tenants/from-bindings.ts'
import { DIRECTORY } from '../tenants/of-environment.ts'
import { app } from './app.ts'
import { RockpoolError } from '../protocol/errors.ts'
import { CLOSE_RELAY_FULL, CLOSE_USER_STREAMS } from '../protocol/messages/relay.ts'
import { MESSAGE_VERSION } from '../protocol/versions.ts'
import { addressOf, retryAfterOf } from './rates.ts'
import { Budget } from './stream/budget.ts'
import { Held, StreamMemory } from './stream/held.ts'
import { HELD_BYTES, KNOWN_STREAM_BYTES, MOST_HELD_BYTES } from './stream/limits.ts'
import { objectPorts } from './stream/objects.ts'
import { RelayChoice, relayOrder, relayUrl } from './stream/relay-order.ts'
import { openStream } from './stream/open-stream.ts'
import { runStream } from './stream/stream.ts'
import { openUpstream, RelaySocket, type Telling } from './stream/upstream.ts'
import { TENANT_PART } from './shares/tenant-part.ts'
import { textLines } from './transports/lines.ts'
import type { Transport } from './transports/transport.ts'

// The file is long because every route is counted against the same few limits, with one setting for all.

const missing = () => new Response(null, { status: 404 })
const secret = crypto.getRandomValues(new Uint8Array(32))
const signer = secretSigner('HS256', secret, 'app')

let touched: string[] = []
beforeEach(() => void (touched = []))

/** Objects that answer whatever is asked, and are noted. */
const namespace = (binding: string) =>
  new Proxy(
    {},
    {
      get: () => () => {
        const answer = {
          state: 'live',
          checkpoint: 1,
          plan: 'p',
          lagBytes: 0,
          writeCheckpoint: '7',
          id: '9',
          status: 500,
        }
        return new Proxy(
          {},
          {
            get: (_, method) =>
              method === 'then' ? undefined : async () => (touched.push(`${binding} ${String(method)}`), answer),
          },
        )
      },
    },
  ) as never

/** Counts as the binding does, without its period. */
class Counter {
  readonly asked: string[] = []
  readonly limit: (options: { key: string }) => Promise<{ success: boolean }>
  constructor(most: number) {
    this.limit = async ({ key }) => {
      this.asked.push(key)
      return { success: this.asked.filter((each) => each === key).length <= most }
    }
  }
}

const counters = () => ({ RATE_FAILURES: new Counter(3), RATE_STREAMS: new Counter(2), RATE_WRITES: new Counter(2) })

const environment = (rates: Partial<Environment>): Environment => ({
  REPLICATOR: namespace('REPLICATOR'),
  BUCKET: namespace('BUCKET'),
  RELAY: namespace('RELAY'),
  JWT_SECRET: Buffer.from(secret).toString('base64url'),
  JWT_AUDIENCE: 'app',
  ...rates,
})

async function ask(bindings: Environment, path: string, init: RequestInit & { token?: string; address?: string } = {}) {
  const context = createExecutionContext()
  const headers = new Headers(init.headers)
  if (init.token !== undefined) headers.set('authorization', `Token ${init.token}`)
  if (init.address !== undefined) headers.set('cf-connecting-ip', init.address)
  const response = await app.fetch(new Request(`https://sync.example${path}`, { ...init, headers }), bindings, context)
  const text = response.headers.get('content-type')?.includes('json') ? await response.text() : ''
  await waitOnExecutionContext(context)
  const error: { code?: string } = text === '' ? {} : (JSON.parse(text).error ?? {})
  return { status: response.status, code: error.code ?? 'ok', retryAfter: response.headers.get('retry-after') }
}

const token = (sub: string, claims: object = {}) => signer.sign({ sub, ...claims })

describe('a user', () => {
  test('asks for so many write checkpoints, over both ways; another user is another one', async () => {
    const rates = counters()
    const bindings = environment(rates)
    const write = async (sub: string, claims = {}) =>
      ask(bindings, '/write-checkpoint2.json?client_id=c', { token: await token(sub, claims) })
    expect((await write('a')).status).toBe(200)
    const body = '{"client_id":"c","checkpoint_request_id":1}'
    const request = { method: 'POST', body, headers: { 'content-type': 'application/json' }, token: await token('a') }
    expect((await ask(bindings, '/sync/checkpoint-request', request)).status).toBe(200)
    touched = []
    expect(await write('a')).toEqual({ status: 429, code: 'ROCKPOOL_RATE', retryAfter: '60' })
    expect((await ask(bindings, '/sync/checkpoint-request', request)).status).toBe(429)
    expect(touched).toEqual([])
    expect((await write('b')).status).toBe(200)
    for (let n = 0; n < 5; n++) expect((await write('ops', { operator: true })).status).toBe(200)
    expect(new Set(rates.RATE_WRITES.asked)).toEqual(new Set(['default/a', 'default/b']))
  })

  test('opens so many streams, over every way; what is refused names no object', async () => {
    const bindings = environment({ RATE_STREAMS: new Counter(0) })
    const post = {
      method: 'POST',
      body: '{}',
      headers: { 'content-type': 'application/json' },
      token: await token('a'),
    }
    expect(await ask(bindings, '/sync/stream', post)).toEqual({ status: 429, code: 'PSYNC_S2304', retryAfter: '10' })
    const direct = { headers: { upgrade: 'websocket' }, token: await token('a') }
    expect(await ask(bindings, '/buckets/x/stream', direct)).toEqual({
      status: 429,
      code: 'PSYNC_S2304',
      retryAfter: '10',
    })

    const upgrade = new Request('https://sync.example/sync/stream', { headers: { upgrade: 'websocket' } })
    const { webSocket } = await app.fetch(upgrade, bindings, createExecutionContext())
    if (!webSocket) throw new Error('there is no socket')
    webSocket.accept()
    const said = new Promise<string>((resolve) =>
      webSocket.addEventListener('message', ({ data }) => resolve(String(data))),
    )
    webSocket.send(JSON.stringify({ open: {}, token: await token('a') }))
    expect(JSON.parse(await said).error.code).toBe('PSYNC_S2304')
    expect(touched).toEqual([])
  })

  test('asks for the status as often as he likes, and the replicator is asked once a second', async () => {
    const bindings = environment(counters())
    for (let n = 0; n < 20; n++)
      expect((await ask(bindings, '/status', { token: await token(`user${n}`) })).status).toBe(200)
    expect(touched.length).toBeLessThan(20)
    touched = []
    // An operator sees what is so now.
    for (let n = 0; n < 3; n++) await ask(bindings, '/status', { token: await token('ops', { operator: true }) })
    expect(touched).toEqual(['REPLICATOR status', 'REPLICATOR status', 'REPLICATOR status'])
  })

  test('a counter that fails or hangs refuses nobody', async () => {
    for (const limit of [() => Promise.reject(new Error('down')), () => new Promise<never>(() => {})]) {
      const bindings = environment({ RATE_WRITES: { limit } })
      expect((await ask(bindings, '/write-checkpoint2.json?client_id=c', { token: await token('a') })).status).toBe(200)
    }
  })
})

describe('an address', () => {
  test('only what fails is counted: a thousand honest clients may share it', async () => {
    const rates = counters()
    const bindings = environment({ RATE_FAILURES: rates.RATE_FAILURES })
    for (let n = 0; n < 50; n++)
      expect((await ask(bindings, '/status', { token: await token(`u${n}`), address: '192.0.2.1' })).status).toBe(200)
    const expired = await token('u', { iat: 1_000, exp: 2_000 })
    expect((await ask(bindings, '/status', { token: expired, address: '192.0.2.1' })).code).toBe('PSYNC_S2103')
    expect(rates.RATE_FAILURES.asked).toEqual([])
  })

  test('that fails too often is answered so; tokens that are right go on to be taken', async () => {
    const rates = counters()
    const bindings = environment({ RATE_FAILURES: rates.RATE_FAILURES })
    const address = '192.0.2.2'
    const failing = [{ token: 'x' }, {}, { token: 'y' }]
    for (const each of failing)
      expect((await ask(bindings, '/write-checkpoint2.json', { ...each, address })).status).toBe(401)
    expect(await ask(bindings, '/nowhere', { address })).toEqual({
      status: 429,
      code: 'ROCKPOOL_RATE',
      retryAfter: '60',
    })
    for (const path of ['/status', '/buckets', '/admin/sync-config', '/nowhere']) {
      expect([path, (await ask(bindings, path, { token: 'x', address })).code]).toEqual([path, 'ROCKPOOL_RATE'])
    }
    expect(touched).toEqual([])
    // It is known by now: the counter is not asked again.
    expect(rates.RATE_FAILURES.asked).toHaveLength(4)
    expect((await ask(bindings, '/status', { token: await token('a'), address })).status).toBe(200)
    expect((await ask(bindings, '/nowhere', { address: '192.0.2.3' })).status).toBe(404)
  })

  test('of IPv6 is a /64', () => {
    const of = (address: string) => addressOf(new Headers({ 'cf-connecting-ip': address }))
    expect(of('192.0.2.1')).toBe('192.0.2.1')
    expect(of('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2')
    expect(of('2001:db8:1:2::6')).toBe('2001:db8:1:2')
    expect(of('2001:db8::6')).toBe('2001:db8:0:0')
    expect(of('::1')).toBe('0:0:0:0')
    expect(addressOf(new Headers())).toBeNull()
  })
})

test('the bindings of wrangler.toml count', async () => {
  const { RATE_STREAMS, RATE_WRITES, RATE_FAILURES } = env as unknown as Environment
  expect([RATE_WRITES, RATE_FAILURES].map((each) => typeof each?.limit)).toEqual(['function', 'function'])
  const answers = []
  for (let n = 0; n < 21; n++) answers.push((await RATE_STREAMS?.limit({ key: 'default/a' }))?.success)
  expect(answers).toEqual([...Array.from({ length: 20 }, () => true), false])
})

describe('relays that refuse a stream', () => {
  const open = async (statuses: number[]) => {
    const asked: string[] = []
    const RELAY = {
      getByName: (name: string) => ({
        fetch: async (url: string) => {
          asked.push(`${name} ${url}`)
          const status = statuses[asked.length - 1] ?? 101
          if (status !== 101) return new Response(null, { status, headers: { 'retry-after': '17' } })
          return new Response(null, { status, webSocket: new WebSocketPair()[0] })
        },
      }),
    }
    const bindings = { ...environment({}), RELAY, RELAYS: '3' } as unknown as Environment
    const budget = new Budget({ calls: 100, bytes: 100 }, () => {})
    const result = await openUpstream(
      bindings,
      tenantOf(bindings),
      owner,
      new AbortController().signal,
      telling(budget),
      choice(),
    ).then(
      (upstream) => (upstream.close(), 'open'),
      (error: unknown) => {
        if (!(error instanceof RockpoolError)) return String(error)
        const seconds = retryAfterOf(error)
        return seconds === null ? error.code : `${error.code} after ${seconds} s`
      },
    )
    return { asked, result }
  }
  const telling = (budget: Budget): Telling => ({
    budget,
    held: new Held(),
    comparing: () => {},
    greeted: () => {},
    admitted: () => {},
  })
  const owner = { user: 'zoë', client: 'phone', token: { user: 'a', client: 'b', iat: 1 } }
  const choice = () => new RelayChoice(relayOrder('zoë', 3))
  const names = relayOrder('zoë', 3).map((n) => `default/main/${n} ${relayUrl(owner)}`)

  test('a full one is passed over, in the order of the user', async () => {
    expect(await open([])).toEqual({ asked: names.slice(0, 1), result: 'open' })
    expect(await open([503, 503])).toEqual({ asked: names, result: 'open' })
    expect(await open([503, 503, 503])).toEqual({ asked: names, result: 'PSYNC_S2003' })
  })

  test('one that takes a newer stream of the user instead ends it, and is not asked again', async () => {
    const [ours, theirs] = Object.values(new WebSocketPair())
    if (!ours || !theirs) throw new Error('there are no sockets')
    theirs.accept()
    ours.accept()
    const upstream = new RelaySocket(
      ours,
      new AbortController().signal,
      telling(new Budget({ calls: 9, bytes: 9 }, () => {})),
      () => {},
    )
    theirs.close(CLOSE_USER_STREAMS, 'a newer stream')
    await expect(upstream.next()).rejects.toMatchObject({ code: 'PSYNC_S2304' })
  })

  /**
   * A stream over relays that greet it, and close its socket with these codes, one after the other; the last one keeps
   * it.
   */
  async function run(codes: number[], held = new Held()) {
    const asked: string[] = []
    const stop = new AbortController()
    const RELAY = {
      getByName: (name: string) => ({
        fetch: async () => {
          asked.push(name)
          const [ours, theirs] = Object.values(new WebSocketPair())
          if (!ours || !theirs) throw new Error('there are no sockets')
          theirs.accept()
          theirs.send(
            JSON.stringify({ v: MESSAGE_VERSION, type: 'update', checkpoint: 1, plan: null, seq: null, buckets: [] }),
          )
          const code = codes[asked.length - 1]
          if (code !== undefined) theirs.close(code, 'the relay has no room for its buckets')
          else setTimeout(() => stop.abort(new Error('kept')))
          return new Response(null, { status: 101, webSocket: ours })
        },
      }),
    }
    const bindings = { ...environment({}), RELAY, RELAYS: '3' } as unknown as Environment
    const nothing = async () => {}
    const lines = { signal: stop.signal, room: nothing, send: nothing, data: nothing }
    const ports = objectPorts(
      bindings,
      tenantOf(bindings),
      owner,
      lines,
      new Budget({ calls: 100, bytes: 100 }, () => {}),
      held,
    )
    const error: unknown = await runStream({ request: {}, claims: {}, user: owner.user }, ports).catch(
      (reason: unknown) => reason,
    )
    return {
      asked,
      result: error instanceof RockpoolError ? error.code : error instanceof Error ? error.message : null,
    }
  }
  const order = relayOrder('zoë', 3).map((n) => `default/main/${n}`)

  test('one that has no room for the buckets of a stream sends it to the next, not to itself again; when none has room the stream ends', async () => {
    expect(await run([CLOSE_RELAY_FULL, CLOSE_RELAY_FULL])).toEqual({ asked: order, result: 'kept' })
    expect(await run([CLOSE_RELAY_FULL, CLOSE_RELAY_FULL, CLOSE_RELAY_FULL])).toEqual({
      asked: order,
      result: 'PSYNC_S2003',
    })
  })

  test('none is asked for a stream of whose buckets this isolate has no room to know', async () => {
    const memory = new StreamMemory(HELD_BYTES, MOST_HELD_BYTES, KNOWN_STREAM_BYTES)
    new Held(0, memory).know(1)
    expect(await run([], new Held(0, memory))).toEqual({ asked: [], result: 'PSYNC_S2003' })
  })

  test('a tenant whose streams hold its part of an isolate is refused there; the stream of another is opened', async () => {
    const memory = new StreamMemory()
    const opened = async (tenant: string) => {
      const held = new Held(0, memory)
      const stop = new AbortController()
      const asked: string[] = []
      const RELAY = { getByName: (name: string) => ({ fetch: async () => (asked.push(name), missing()) }) }
      const bindings = { ...environment({}), RELAY, [DIRECTORY]: {} } as unknown as Environment
      const nothing = async () => {}
      const transport: Transport<string> = {
        signal: stop.signal,
        encoder: textLines,
        join: null,
        held,
        keepalive: false,
        room: nothing,
        ready: nothing,
        write: () => {},
        expires: () => {},
        end: ({ error }) => stop.abort(error),
      }
      const caller = { user: 'zoë', expires: Date.now() / 1_000 + 300, claims: {} }
      const { done } = openStream(bindings, tenantOfBindings(tenant, {}, ''), caller, {}, transport)
      const code = await done.catch((error: unknown) => (error instanceof RockpoolError ? error.code : String(error)))
      return { asked: asked.length, code }
    }
    const fill = (streams: number): void => {
      for (let n = 0; n < streams; n++) {
        const held = new Held(0, memory)
        held.belongTo('acme', TENANT_PART)
        held.know(KNOWN_STREAM_BYTES)
      }
    }
    fill(1_100)
    expect(memory.known).toBeGreaterThan(8 * 1024 * 1024)
    expect([await opened('acme'), await opened('globex')]).toEqual([
      { asked: 1, code: 'PSYNC_S2002' },
      { asked: 1, code: 'PSYNC_S2002' },
    ])
    fill(300)
    expect([await opened('acme'), await opened('globex')]).toEqual([
      { asked: 0, code: 'PSYNC_S2003' },
      { asked: 1, code: 'PSYNC_S2002' },
    ])
  })

  test('one that starts again is opened again', async () => {
    expect(await run([1012, CLOSE_RELAY_FULL])).toEqual({ asked: [order[0], order[0], order[1]], result: 'kept' })
  })

  test('one that has too many streams of this user ends it, and says for how long', async () => {
    expect(await open([429])).toEqual({ asked: names.slice(0, 1), result: 'PSYNC_S2304 after 17 s' })
  })
})
