import { expect, test } from 'vitest'
import { RockpoolError } from '../../../protocol/errors.ts'
import { attempt, testServer, type AnyBehaviour } from '../../../test/tls/attempt.ts'
import { credentials } from '../../../test/tls/credentials.ts'
import { pipe } from '../../../test/tls/pipe.ts'
import { TestServer, type HelloFields } from '../../../test/tls/server.ts'
import type { Behaviour12 } from '../../../test/tls/server-12.ts'
import { connectTls, type TlsOptions, type TlsSocket, type Transport } from './connection.ts'
import { MAX_MESSAGE } from './fragments.ts'
import { GROUPS, MAX_PLAINTEXT, PKCS1_SCHEMES, SCHEMES, SUITES, SUITES_12 } from './parameters.ts'
import { MAX_COOKIE } from './server-hello.ts'
import { concat, join, Reader, vector16, type Bytes } from './wire.ts'

// The file is long because every part of a connection is tried on one server of our own.

const P384 = 0x0018
const key = credentials(0x0403)
const rsaKey = credentials(0x0804)

function options(of: Partial<TlsOptions> = {}): TlsOptions {
  return { host: 'localhost', verify: () => {}, signal: AbortSignal.timeout(5_000), ...of }
}

async function connected(
  behaviour: AnyBehaviour = {},
  of: Partial<TlsOptions> = {},
): Promise<{ server: TestServer; socket: TlsSocket }> {
  const { client, server: end } = pipe()
  const rsa = behaviour.version === 12 && SUITES_12.get(behaviour.suite ?? 0)?.signs === 'RSA'
  const server = testServer(end, await (rsa ? rsaKey : key), behaviour)
  const accepted = server.accept()
  const socket = await connectTls(client, options(of))
  await accepted
  return { server, socket }
}

/** A HelloRetryRequest for the group. */
const ask = (group: number, cookie?: Bytes) => (fields: HelloFields) => {
  const wanted: HelloFields['extensions'] = [[51, new Uint8Array([group >> 8, group & 0xff])]]
  if (cookie) wanted.push([44, vector16(cookie)])
  return { ...fields, extensions: [...fields.extensions, ...wanted] }
}

type Agreed = Pick<TlsSocket, 'version' | 'suite' | 'group'>
const behaviourOf = {
  'TLS 1.3': (suite: number, group: number): AnyBehaviour => ({
    suite,
    group,
    retries: group === P384 ? [ask(P384)] : [],
  }),
  'TLS 1.2': (suite: number, group: number): AnyBehaviour => ({ version: 12, suite, group }),
}
const pairs = (['TLS 1.3', 'TLS 1.2'] as const).flatMap((version) =>
  [...(version === 'TLS 1.3' ? SUITES : SUITES_12)].flatMap(([number, { name: suite }]) =>
    [...GROUPS].map(([group, { name }]): [Agreed, AnyBehaviour] => [
      { version, suite, group: name },
      behaviourOf[version](number, group),
    ]),
  ),
)

test.each(pairs)('%o, from hello to close_notify', async (agreed, behaviour) => {
  const { server, socket } = await connected(behaviour)
  expect(socket).toMatchObject({ ...agreed, alpn: null })
  expect(socket.peerCertificates).toEqual([server.credentials.certificate])
  await server.send(23, new Uint8Array([1, 2, 3]))
  const reader = socket.readable.getReader()
  expect((await reader.read()).value).toEqual(new Uint8Array([1, 2, 3]))
  await socket.writable.getWriter().write(new Uint8Array([4, 5]))
  expect(await server.record()).toEqual({ type: 23, data: new Uint8Array([4, 5]) })
  // A read that waits ends as well.
  const waiting = reader.read()
  await socket.close()
  expect(await waiting).toEqual({ done: true, value: undefined })
  expect(await server.record()).toEqual({ type: 21, data: new Uint8Array([1, 0]) })
  await socket.closed
})

const isRsa = (scheme: number) => PKCS1_SCHEMES.has(scheme) || SCHEMES.get(scheme)?.key.name === 'RSA-PSS'
const signatures: [number, AnyBehaviour][] = [
  ...[...SCHEMES.keys()].map((scheme): [number, AnyBehaviour] => [scheme, {}]),
  ...[...SCHEMES.keys(), ...PKCS1_SCHEMES.keys()].map((scheme): [number, AnyBehaviour] => [
    scheme,
    { version: 12, suite: isRsa(scheme) ? 0xc02f : 0xc02b },
  ]),
]

test.each(signatures)('a signature of the kind %i (%o)', async (scheme, behaviour) => {
  expect(await attempt(connectTls, { ...behaviour, credentials: () => credentials(scheme) })).toMatchObject({
    outcome: 'read 5',
    alert: 0,
  })
})

/** Name and body of what a ClientHello has. */
function parts(hello: Bytes) {
  const reader = new Reader(hello.subarray(4))
  const head = { version: reader.number(2), random: reader.bytes(32), sessionId: reader.vector(1) }
  const found = { ...head, suites: [...reader.vector(2)], compression: [...reader.vector(1)] }
  const list = new Reader(reader.vector(2))
  const extensions: [number, Bytes][] = []
  while (!list.done) extensions.push([list.number(2), list.vector(2)])
  return { ...found, extensions }
}

test('nothing else is offered, and the second hello differs from the first only in what was asked', async () => {
  const cookie = new Uint8Array(MAX_COOKIE).fill(7)
  const { server, socket } = await connected({ group: P384, retries: [ask(P384, cookie)] })
  const [first, second] = server.hellos.map(parts)
  expect(first).toMatchObject({
    version: 0x0303,
    suites: [0x13, 2, 0x13, 1, 0xc0, 0x2c, 0xc0, 0x30, 0xc0, 0x2b, 0xc0, 0x2f],
    compression: [0],
  })
  const offered = new Map(first?.extensions)
  expect([...offered.keys()]).toEqual([0, 10, 11, 13, 16, 23, 43, 51, 0xff01])
  expect([...(offered.get(43) ?? [])]).toEqual([4, 3, 4, 3, 3])
  expect([11, 23, 0xff01].map((type) => [...(offered.get(type) ?? [9])])).toEqual([[1, 0], [], [0]])
  expect([...(offered.get(10) ?? [])]).toEqual([0, 6, 0, 0x1d, 0, 0x17, 0, 0x18])
  const schemes = Buffer.from(offered.get(13) ?? []).toString('hex')
  expect(schemes).toBe('0014' + '0403' + '0503' + '0603' + '0807' + '0804' + '0805' + '0806' + '0401' + '0501' + '0601')
  expect(Buffer.from(offered.get(16) ?? []).toString('latin1')).toBe('\0\x0b\npostgresql')
  const same = ({ extensions, ...rest }: ReturnType<typeof parts>) => ({
    ...rest,
    extensions: extensions.filter(([type]) => type !== 51 && type !== 44),
  })
  expect(same(second as ReturnType<typeof parts>)).toEqual(same(first as ReturnType<typeof parts>))
  expect(new Map(second?.extensions).get(44)).toEqual(concat([MAX_COOKIE >> 8, 0], cookie))
  await socket.close()
})

test('each connection has a random, a session id and shares of its own', async () => {
  const seen = new Set<string>()
  for (let i = 0; i < 3; i++) {
    const { server, socket } = await connected()
    const { random, sessionId, extensions } = parts(server.clientHello.raw)
    for (const bytes of [random, sessionId, new Map(extensions).get(51) as Bytes])
      seen.add(Buffer.from(bytes).toString('hex'))
    await socket.close()
  }
  expect(seen.size).toBe(9)
})

const pieces = (bytes: Bytes, size: number) =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size))

test('messages of the largest size, in the largest number of records, read byte by byte', async () => {
  const long = () => credentials(0x0403, 60_000)
  expect(
    await attempt(connectTls, { credentials: long, pack: (all) => pieces(concat(...all), MAX_PLAINTEXT) }),
  ).toMatchObject({
    outcome: 'read 5',
  })
  // A message and what is around it.
  const sixty = (all: Bytes[]) => pieces(concat(...all), Math.ceil(concat(...all).length / 60))
  expect(await attempt(connectTls, { pack: sixty })).toMatchObject({ outcome: 'read 5' })
  expect(await attempt(connectTls, { wire: (record) => pieces(record, 1) })).toMatchObject({ outcome: 'read 5' })
  const over = (all: Bytes[]) => pieces(concat(...all, new Uint8Array(MAX_MESSAGE)), MAX_PLAINTEXT)
  expect(await attempt(connectTls, { flight: [() => concat([8, 2, 0, 1])], pack: over })).toMatchObject({
    outcome: 'TLS: a message is too long',
    alert: 50,
  })
})

test('a flight of TLS 1.2 in many records, a byte at a read', async () => {
  const pack = (all: Bytes[]) => pieces(concat(...all), 20)
  expect(await attempt(connectTls, { version: 12, pack })).toMatchObject({ outcome: 'read 5' })
  expect(await attempt(connectTls, { version: 12, wire: (record) => pieces(record, 1) })).toMatchObject({
    outcome: 'read 5',
  })
})

test('ALPN is agreed on; groups that a server names are ignored', async () => {
  const alpn = concat([0, 11, 10], Buffer.from('postgresql'))
  const hello: Behaviour12['hello'] = (f) => ({
    ...f,
    extensions: [...f.extensions, [16, alpn], [10, new Uint8Array([0, 2, 0, 0x1d])]],
  })
  const { socket } = await connected({ version: 12, hello })
  expect(socket.alpn).toBe('postgresql')
  await socket.close()
})

test.each<AnyBehaviour>([{}, { version: 12 }])(
  '%o: 300 records of one read are one chunk, in order; read byte by byte, each record is one',
  async (behaviour) => {
    const { server, socket } = await connected(behaviour)
    const sealed: Bytes[] = []
    const data: Bytes[] = []
    for (let i = 0; i < 300; i++) {
      data.push(new Uint8Array(40).fill(i))
      sealed.push(await server.sealed(23, data.at(-1) as Bytes))
    }
    server.raw(concat(...sealed))
    const reader = socket.readable.getReader()
    expect((await reader.read()).value).toEqual(concat(...data))
    const one = await server.sealed(23, new Uint8Array(MAX_PLAINTEXT).fill(7))
    for (let at = 0; at < one.length; at += 1_000) server.raw(one.subarray(at, at + 1_000))
    expect((await reader.read()).value).toEqual(new Uint8Array(MAX_PLAINTEXT).fill(7))
    await socket.close()
  },
)

test('the caller gets the error of the verification, which cannot change the chain', async () => {
  const refusal = new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', 'not this one')
  const { client, server: end } = pipe()
  const server = new TestServer(end, await key)
  const accepted = server.accept()
  await expect(connectTls(client, options({ verify: () => Promise.reject(refusal) }))).rejects.toBe(refusal)
  expect(await accepted).toBeNull()
  expect(server.lastAlert).toBe(42)
  const { socket } = await connected({}, { verify: (chain) => void chain.splice(0) })
  expect(socket.peerCertificates).toHaveLength(1)
  await socket.close()
})

const reason = new Error('too late')
const late = () => {
  const controller = new AbortController()
  setTimeout(() => controller.abort(reason), 30)
  return controller.signal
}

/** Three records make a handshake; of one of them only so much arrives, and of the others nothing. */
const stops = (['1.3', '1.2'] as const).flatMap((version) =>
  [0, 1, 2].flatMap((record) => [0, 3, -1].map((bytes) => ({ version, record, bytes }))),
)

test.each(stops)(
  'a server of TLS $version that stops in record $record, behind byte $bytes, ends by the deadline of the caller',
  async ({ version, record, bytes }) => {
    const wire = (found: Bytes, i: number) => (i < record ? [found] : i === record ? [found.subarray(0, bytes)] : [])
    const { client, server: end } = pipe()
    void testServer(end, await key, version === '1.2' ? { version: 12, wire } : { wire })
      .accept()
      .catch(() => {})
    await expect(connectTls(client, options({ signal: late() }))).rejects.toBe(reason)
    await end.closed
  },
)

test('the deadline of the caller ends a verification, and has no effect after the handshake', async () => {
  await expect(connected({}, { signal: late(), verify: () => new Promise<void>(() => {}) })).rejects.toBe(reason)
  const controller = new AbortController()
  const { server, socket } = await connected({}, { signal: controller.signal })
  controller.abort(reason)
  await server.send(23, new Uint8Array(3))
  expect((await socket.readable.getReader().read()).value).toHaveLength(3)
  await socket.close()
})

/** The connection in memory, with something else about it. */
async function over(change: (client: Transport) => Transport): Promise<TlsSocket> {
  const { client, server: end } = pipe()
  void new TestServer(end, await key).accept().catch(() => {})
  return connectTls(change(client), options())
}

test('a server that does not read any more does not delay the end for long', async () => {
  let stuck = false
  const socket = await over((client) => {
    const writer = client.writable.getWriter()
    const writable = new WritableStream<Uint8Array>({
      write: (bytes) => (stuck ? new Promise(() => {}) : writer.write(bytes)),
    })
    return { ...client, writable }
  })
  stuck = true
  const began = Date.now()
  await socket.close()
  await socket.closed
  expect(Date.now() - began).toBeLessThan(3_000)
})

test('a closed transport that does not answer a read is not waited for', async () => {
  const closed = Promise.withResolvers<void>()
  const socket = await over((client) => ({ ...client, closed: closed.promise }))
  const read = socket.readable.getReader().read()
  closed.resolve()
  await expect(read).rejects.toMatchObject({
    code: 'ROCKPOOL_SOURCE_UNREACHABLE',
    message: expect.stringContaining('broke off'),
  })
  await expect(socket.closed).rejects.toMatchObject({ code: 'ROCKPOOL_SOURCE_UNREACHABLE' })
})

test('a write that fails fails the connection, and nothing can be written after the end', async () => {
  let broken = false
  const socket = await over((client) => {
    const writer = client.writable.getWriter()
    const writable = new WritableStream<Uint8Array>({
      write: (bytes) => (broken ? Promise.reject(new Error('EPIPE')) : writer.write(bytes)),
    })
    return { ...client, writable }
  })
  broken = true
  const error = { code: 'ROCKPOOL_SOURCE_UNREACHABLE', message: 'TLS: the connection broke off: EPIPE' }
  await expect(socket.writable.getWriter().write(new Uint8Array(1))).rejects.toMatchObject(error)
  await expect(socket.closed).rejects.toMatchObject(error)
  const { socket: ended } = await connected()
  const writer = ended.writable.getWriter()
  await ended.close()
  await expect(writer.write(new Uint8Array(1))).rejects.toMatchObject({ message: 'TLS: the connection has ended' })
  await ended.closed
})

test('closing the writing side, or leaving the reading one, closes the connection in order', async () => {
  for (const end of [(socket: TlsSocket) => socket.writable.close(), (socket: TlsSocket) => socket.readable.cancel()]) {
    const { server, socket } = await connected()
    await end(socket)
    expect(await server.record()).toEqual({ type: 21, data: new Uint8Array([1, 0]) })
    await socket.closed
  }
})

test('a read of any number of records can be joined: a binding may hand on more than a call takes arguments', () => {
  expect(join(Array.from({ length: 300_000 }, () => [1, 2]))).toHaveLength(600_000)
})

test('keys that are used up end the connection, because 1.2 cannot change them', async () => {
  // One is taken by Finished.
  const { server, socket } = await connected({ version: 12 }, { recordsOfAKey: 3 })
  const writer = socket.writable.getWriter()
  for (const byte of [1, 2]) await writer.write(new Uint8Array([byte]))
  await expect(writer.write(new Uint8Array([3]))).rejects.toMatchObject({
    code: 'ROCKPOOL_SOURCE_UNREACHABLE',
    message: expect.stringContaining('keys are used up'),
  })
  for (const byte of [1, 2]) expect(await server.record()).toEqual({ type: 23, data: new Uint8Array([byte]) })
  await expect(socket.closed).rejects.toMatchObject({ code: 'ROCKPOOL_SOURCE_UNREACHABLE' })
})
