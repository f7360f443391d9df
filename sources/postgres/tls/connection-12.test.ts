import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { attempt } from '../../../test/tls/attempt.ts'
import { credentials } from '../../../test/tls/credentials.ts'
import { pipe } from '../../../test/tls/pipe.ts'
import { TestServer12, type Behaviour12 } from '../../../test/tls/server-12.ts'
import { connectTls, type TlsSocket } from './connection.ts'
import { GROUPS, MAX_PLAINTEXT, PKCS1_SCHEMES, SCHEMES, SUITES, SUITES_12, type Suite } from './parameters.ts'
import { prf } from './prf.ts'
import { concat, type Bytes } from './wire.ts'

const RSA = 0x0804
const keys = new Map([0x0403, RSA].map((scheme) => [scheme, credentials(scheme)]))

async function connected(plan: Partial<Behaviour12> = {}, recordsOfAKey?: number): Promise<{ server: TestServer12; socket: TlsSocket }> {
  const { client, server: end } = pipe()
  const scheme = SUITES_12.get(plan.suite ?? 0xc02b)?.signs === 'RSA' ? RSA : 0x0403
  const server = new TestServer12(end, await (keys.get(scheme) ?? credentials(scheme)), { version: 12, ...plan })
  const accepted = server.accept()
  const options = { host: 'localhost', verify: () => {}, signal: AbortSignal.timeout(5_000) }
  const socket = await connectTls(client, recordsOfAKey === undefined ? options : { ...options, recordsOfAKey })
  await accepted
  return { server, socket }
}

test.each([...SUITES.values()])('the keys come from the PRF of RFC 5246, as in OpenSSL ($hash)', async (suite: Suite) => {
  const [secret, seed] = [new Uint8Array(48).map((_, i) => i * 5), new Uint8Array(64).map((_, i) => i * 3)]
  for (const length of [12, 48, 88, 200]) {
    const kdf = ['kdf', '-keylen', String(length), '-kdfopt', `digest:${suite.hash.replace('-', '')}`]
    const parts = [`hexsecret:${Buffer.from(secret).toString('hex')}`, `seed:key expansion`, `hexseed:${Buffer.from(seed).toString('hex')}`]
    const printed = execFileSync('openssl', [...kdf, ...parts.flatMap((part) => ['-kdfopt', part]), 'TLS1-PRF'], { encoding: 'utf8' })
    const ours = await prf(suite, secret, 'key expansion', seed, length)
    expect(Buffer.from(ours).toString('hex')).toBe(printed.replaceAll(/[:\s]/g, '').toLowerCase())
  }
})

const pairs = [...SUITES_12.keys()].flatMap((suite) => [...GROUPS.keys()].map((group) => ({ suite, group })))

test.each(pairs)('suite and group $suite $group, from hello to close_notify', async ({ suite, group }) => {
  const { server, socket } = await connected({ suite, group })
  expect(socket).toMatchObject({ version: 'TLS 1.2', suite: SUITES_12.get(suite)?.name, group: GROUPS.get(group)?.name, alpn: null })
  expect(socket.peerCertificates).toEqual([server.credentials.certificate])
  await server.send(23, new Uint8Array([1, 2, 3]))
  const reader = socket.readable.getReader()
  expect((await reader.read()).value).toEqual(new Uint8Array([1, 2, 3]))
  await socket.writable.getWriter().write(new Uint8Array([4, 5]))
  expect(await server.record()).toEqual({ type: 23, data: new Uint8Array([4, 5]) })
  const waiting = reader.read()
  await socket.close()
  expect(await waiting).toEqual({ done: true, value: undefined })
  expect(await server.record()).toEqual({ type: 21, data: new Uint8Array([1, 0]) })
  await socket.closed
})

test.each([...SCHEMES.keys(), ...PKCS1_SCHEMES.keys()])('a signature of the kind %i', async (scheme) => {
  const rsa = PKCS1_SCHEMES.has(scheme) || SCHEMES.get(scheme)?.key.name === 'RSA-PSS'
  const plan = { version: 12, suite: rsa ? 0xc02f : 0xc02b, credentials: () => credentials(scheme) } as const
  expect(await attempt(connectTls, plan)).toMatchObject({ outcome: 'read 5', alert: 0 })
})

test('ALPN is agreed on; groups that a server names are ignored', async () => {
  const alpn = concat([0, 11, 10], Buffer.from('postgresql'))
  const hello: Behaviour12['hello'] = (f) => ({ ...f, extensions: [...f.extensions, [16, alpn], [10, new Uint8Array([0, 2, 0, 0x1d])]] })
  const { socket } = await connected({ hello })
  expect(socket.alpn).toBe('postgresql')
  await socket.close()
})

test('300 records of one read are one chunk, in order; read byte by byte, each record is one', async () => {
  const { server, socket } = await connected()
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
})

test('a flight in many records, a byte at a read', async () => {
  const pieces = (bytes: Bytes, size: number) =>
    Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size))
  const pack = (all: Bytes[]) => pieces(concat(...all), 20)
  expect(await attempt(connectTls, { version: 12, pack })).toMatchObject({ outcome: 'read 5' })
  expect(await attempt(connectTls, { version: 12, wire: (record) => pieces(record, 1) })).toMatchObject({ outcome: 'read 5' })
})

test('keys that are used up end the connection, because 1.2 cannot change them', async () => {
  // One is taken by Finished.
  const { server, socket } = await connected({}, 3)
  const writer = socket.writable.getWriter()
  for (const byte of [1, 2]) await writer.write(new Uint8Array([byte]))
  await expect(writer.write(new Uint8Array([3]))).rejects.toMatchObject({
    code: 'ROCKPOOL_SOURCE_UNREACHABLE',
    message: expect.stringContaining('keys are used up'),
  })
  for (const byte of [1, 2]) expect(await server.record()).toEqual({ type: 23, data: new Uint8Array([byte]) })
  await expect(socket.closed).rejects.toMatchObject({ code: 'ROCKPOOL_SOURCE_UNREACHABLE' })
})
