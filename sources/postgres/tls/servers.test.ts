import { spawn, type ChildProcess } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer as createTcpServer, type AddressInfo, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer, type TlsOptions as ServerOptions, type TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { nodeTransport } from '../../../test/tls/node-transport.ts'
import { KINDS, ownCertificate, type Kind, type OwnCertificate } from '../../../test/tls/own-certificate.ts'
import { connectTls, type TlsOptions, type TlsSocket } from './connection.ts'

// Servers that are not ours: OpenSSL, by way of Node and of its own tool.
// The file is long because every kind of server is played over one pair of sockets.

const certificates = new Map<Kind, OwnCertificate>()
const certificate = (kind: Kind) => certificates.get(kind) as OwnCertificate
const running: { close(): void }[] = []
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rockpool-tls-'))
  for (const kind of Object.keys(KINDS) as Kind[]) certificates.set(kind, await ownCertificate(kind))
}, 60_000)
afterEach(() => running.splice(0).forEach((server) => server.close()))
afterAll(() => rm(folder, { recursive: true, force: true }))

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  running.push(server)
  return (server.address() as AddressInfo).port
}

/** Sends back what it gets. */
function echo(socket: TLSSocket): void {
  socket.on('error', () => {})
  socket.pipe(socket)
}

const nodeServer = (kind: Kind, options: ServerOptions = {}, connection: (socket: TLSSocket) => void = echo) =>
  listening(createServer({ ...certificate(kind), ...options }, connection).on('tlsClientError', () => {}))

async function connect(port: number, kind: Kind, options: Partial<TlsOptions> = {}): Promise<TlsSocket> {
  const verify = ([own]: Uint8Array[]) => {
    if (
      new X509Certificate(own as Uint8Array).fingerprint256 !==
      new X509Certificate(certificate(kind).cert).fingerprint256
    )
      throw new Error('another certificate')
  }
  return connectTls(await nodeTransport(port), {
    host: 'localhost',
    verify,
    signal: AbortSignal.timeout(10_000),
    ...options,
  })
}

/** `bytes` there and back. */
async function roundTrip(socket: TlsSocket, bytes: Uint8Array): Promise<void> {
  const writer = socket.writable.getWriter()
  const written = writer.write(bytes)
  const reader = socket.readable.getReader()
  const chunks: Uint8Array[] = []
  for (let length = 0; length < bytes.length;) {
    const { value } = await reader.read()
    if (!value) break
    chunks.push(value)
    length += value.length
  }
  await written
  writer.releaseLock()
  reader.releaseLock()
  expect(Buffer.concat(chunks).equals(bytes)).toBe(true)
}

const some = (length: number) => new Uint8Array(length).map((_, i) => i * 7)

test.each(Object.keys(KINDS).filter((kind) => kind !== 'RSA-PSS') as Kind[])(
  'a server with a key of %s',
  async (kind) => {
    const socket = await connect(await nodeServer(kind), kind)
    expect(socket).toMatchObject({ suite: 'TLS_AES_256_GCM_SHA384', group: 'X25519', alpn: null })
    expect(socket.peerCertificates).toHaveLength(1)
    await roundTrip(socket, some(100_000))
    await socket.close()
    await socket.closed
  },
)

test.each([
  ['P-256', 'P-256'],
  ['P-384', 'P-384'],
  ['P-384:X25519', 'X25519'],
])('a server with the groups %s, which may ask for another hello', async (ecdhCurve, group) => {
  const socket = await connect(await nodeServer('P-256', { ecdhCurve }), 'P-256')
  expect(socket.group).toBe(group)
  await roundTrip(socket, some(10))
  await socket.close()
})

test('the other suite, and 4 MB in both directions', async () => {
  const socket = await connect(await nodeServer('P-256', { ciphers: 'TLS_AES_128_GCM_SHA256' }), 'P-256')
  expect(socket.suite).toBe('TLS_AES_128_GCM_SHA256')
  await roundTrip(socket, some(4 * 1024 * 1024))
  await socket.close()
})

test('ALPN and the host name are sent; an address is not sent as a name', async () => {
  const seen: unknown[] = []
  const port = await nodeServer('P-256', { ALPNProtocols: ['postgresql'] }, (socket) => {
    seen.push(socket.servername)
    echo(socket)
  })
  for (const host of ['db.example', 'db.example.', '127.0.0.1', '::1']) {
    const socket = await connect(port, 'P-256', { host })
    expect(socket.alpn).toBe('postgresql')
    await roundTrip(socket, some(1))
    await socket.close()
  }
  expect(seen).toEqual(['db.example', 'db.example', false, false])
})

test('a requested client certificate is not sent', async () => {
  const socket = await connect(await nodeServer('P-256', { requestCert: true, rejectUnauthorized: false }), 'P-256')
  await roundTrip(socket, some(10))
  await socket.close()
})

const ONLY_12: ServerOptions = { maxVersion: 'TLSv1.2' }
const SETTINGS = 'ROCKPOOL_SOURCE_SETTINGS'

test('a demanded client certificate is reported', async () => {
  const socket = await connect(await nodeServer('P-256', { requestCert: true, rejectUnauthorized: true }), 'P-256')
  const refusal = {
    code: SETTINGS,
    message: expect.stringMatching(/demands a client certificate.*certificate_required\)$/),
  }
  await expect(socket.readable.getReader().read()).rejects.toMatchObject(refusal)
  await expect(socket.closed).rejects.toMatchObject(refusal)
})

test.each<[string, ServerOptions, RegExp]>([
  [
    'speaks 1.1 only',
    { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' },
    /speaks only TLS 1.1 or older.*\(protocol_version\)/,
  ],
  [
    'speaks 1.2 with CBC only',
    { ...ONLY_12, ciphers: 'ECDHE-ECDSA-AES128-SHA256' },
    /accepts nothing that is offered.*handshake_failure/,
  ],
  [
    'speaks 1.2 with ChaCha20 only',
    { ...ONLY_12, ciphers: 'ECDHE-ECDSA-CHACHA20-POLY1305' },
    /accepts nothing that is offered.*handshake_failure/,
  ],
  [
    'speaks 1.2 without the extended master secret',
    { ...ONLY_12, secureOptions: 1 },
    /TLS 1.2 without the extended master secret/,
  ],
  [
    'has ChaCha20 only',
    { ciphers: 'TLS_CHACHA20_POLY1305_SHA256' },
    /accepts nothing that is offered.*handshake_failure/,
  ],
  ['has X448 only', { ecdhCurve: 'X448' }, /accepts nothing that is offered.*handshake_failure/],
  [
    'speaks another protocol',
    { ALPNProtocols: ['h2'] },
    /does not speak the protocol "postgresql" \(no_application_protocol\)/,
  ],
])('a server that %s is refused for that reason', async (_, options, message) => {
  await expect(connect(await nodeServer('P-256', options), 'P-256')).rejects.toMatchObject({
    code: SETTINGS,
    message: expect.stringMatching(message),
  })
})

test('a key that the runtime cannot verify with is refused', async () => {
  await expect(connect(await nodeServer('RSA-PSS'), 'RSA-PSS')).rejects.toMatchObject({
    code: SETTINGS,
    message: expect.stringMatching(/accepts nothing/),
  })
})

test('an untrusted certificate: the error has the reason, and the server gets an alert', async () => {
  const heard = Promise.withResolvers<string>()
  const port = await listening(
    createServer(certificate('P-256'), echo).on('tlsClientError', (error) => heard.resolve(String(error.message))),
  )
  await expect(connect(port, 'P-384')).rejects.toMatchObject({
    code: SETTINGS,
    message: 'TLS: the certificate of localhost cannot be verified: another certificate',
  })
  expect(await heard.promise).toMatch(/bad certificate/)
})

test('a connection that breaks off is an error, and one that ends is not', async () => {
  const port = await nodeServer('P-256', {}, (socket) => {
    socket.on('error', () => {})
    socket.once('data', (bytes) => {
      if (bytes[0] === 1) socket.end(bytes)
      // Below TLS, so that nothing is told.
      else (socket as unknown as { _parent: { destroy(): void } })._parent.destroy()
    })
  })
  const ended = await connect(port, 'P-256')
  await roundTrip(ended, some(8).fill(1))
  expect(await ended.readable.getReader().read()).toEqual({ done: true, value: undefined })
  await ended.closed
  const broken = await connect(port, 'P-256')
  await broken.writable.getWriter().write(some(8))
  const error = { code: 'ROCKPOOL_SOURCE_UNREACHABLE', message: expect.stringMatching(/broke off/) }
  await expect(broken.readable.getReader().read()).rejects.toMatchObject(error)
  await expect(broken.closed).rejects.toMatchObject(error)
})

test('a server without TLS is reported as such, and a silent one ends with the deadline of the caller', async () => {
  const port = await listening(
    createTcpServer((socket) =>
      socket.on('error', () => {}).once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')),
    ),
  )
  await expect(connect(port, 'P-256')).rejects.toMatchObject({
    code: SETTINGS,
    message: 'TLS: the server does not speak TLS',
  })
  let closed = 0
  const silent = await listening(
    createTcpServer((socket) =>
      socket
        .on('error', () => {})
        .resume()
        .on('close', () => closed++),
    ),
  )
  const reason = new Error('too late')
  const late = new AbortController()
  setTimeout(() => late.abort(reason), 100)
  await expect(connect(silent, 'P-256', { signal: late.signal })).rejects.toBe(reason)
  await expect(connect(silent, 'P-256', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  await expect.poll(() => closed).toBe(2)
})

const SUITES_OF_12: [Kind, string][] = [
  ['P-256', 'ECDHE-ECDSA-AES128-GCM-SHA256'],
  ['P-384', 'ECDHE-ECDSA-AES256-GCM-SHA384'],
  ['Ed25519', 'ECDHE-ECDSA-AES256-GCM-SHA384'],
  ['RSA 2048', 'ECDHE-RSA-AES128-GCM-SHA256'],
  ['RSA 3072', 'ECDHE-RSA-AES256-GCM-SHA384'],
]

test.each(SUITES_OF_12)('a server of TLS 1.2 with a key of %s and %s', async (kind, ciphers) => {
  const port = await nodeServer(kind, { ...ONLY_12, ciphers, ALPNProtocols: ['postgresql'] })
  const socket = await connect(port, kind)
  const suite = ciphers.replace('ECDHE-', 'TLS_ECDHE_').replace('-AES', '_WITH_AES_').replaceAll('-', '_')
  expect(socket).toMatchObject({ version: 'TLS 1.2', suite, group: 'X25519', alpn: 'postgresql' })
  await roundTrip(socket, some(1024 * 1024))
  await socket.close()
  await socket.closed
})

test.each(['P-256', 'P-384'])('a server of TLS 1.2 of the group %s alone', async (ecdhCurve) => {
  const socket = await connect(await nodeServer('RSA 2048', { ...ONLY_12, ecdhCurve }), 'RSA 2048')
  expect(socket).toMatchObject({ version: 'TLS 1.2', group: ecdhCurve })
  await roundTrip(socket, some(10))
  await socket.close()
})

test.each(['RSA-PSS+SHA384', 'RSA+SHA256', 'RSA+SHA512'])('a server of TLS 1.2 that signs with %s', async (sigalgs) => {
  const socket = await connect(await nodeServer('RSA 2048', { ...ONLY_12, sigalgs }), 'RSA 2048')
  await roundTrip(socket, some(10))
  await socket.close()
})

test('a server of TLS 1.2: a requested client certificate is not sent, and a demanded one is reported', async () => {
  const asking = await connect(
    await nodeServer('P-256', { ...ONLY_12, requestCert: true, rejectUnauthorized: false }),
    'P-256',
  )
  await roundTrip(asking, some(10))
  await asking.close()
  const demanding = await opensslServer('P-256', '-tls1_2', '-Verify', '1', '-verify_return_error')
  // It hangs up before it has read our Finished. TCP answers that with a reset, behind which the alert may be lost; the
  // misbehaving server shows each form by itself.
  await expect(connect(demanding.port, 'P-256')).rejects.toThrow(
    /demands a client certificate.*\(handshake_failure\)$|broke off.*the server asked for a client certificate/,
  )
})

test('a server of TLS 1.2 that asks for a second handshake is refused', async () => {
  const { port, process } = await opensslServer('P-256', '-tls1_2')
  const socket = await connect(port, 'P-256')
  process.stdin?.write('r\n')
  await expect(socket.readable.getReader().read()).rejects.toMatchObject({
    code: 'ROCKPOOL_SOURCE_UNREACHABLE',
    message: expect.stringMatching(/asks for renegotiation/),
  })
})

/** `openssl s_server`, which writes what it gets to its output, and sends what it is given. */
async function opensslServer(
  kind: Kind,
  ...options: string[]
): Promise<{ port: number; process: ChildProcess; output: () => string }> {
  await writeFile(join(folder, 'key'), certificate(kind).key)
  await writeFile(join(folder, 'cert'), certificate(kind).cert)
  const process = spawn('openssl', ['s_server', '-accept', '127.0.0.1:0', '-key', 'key', '-cert', 'cert', ...options], {
    cwd: folder,
  })
  running.push({ close: () => process.kill() })
  let output = ''
  process.stdout.on('data', (bytes) => (output += String(bytes)))
  process.stderr.on('data', (bytes) => (output += String(bytes)))
  const port = () => Number(/^ACCEPT \S+:(\d+)/m.exec(output)?.[1])
  await expect.poll(port, { timeout: 10_000 }).toBeGreaterThan(0)
  return { port: port(), process, output: () => output }
}

test('key updates of the server, of both sides, and of ours', async () => {
  const { port, process, output } = await opensslServer('P-256', '-tls1_3', '-msg')
  const socket = await connect(port, 'P-256', { recordsOfAKey: 3 })
  const reader = socket.readable.getReader()
  const writer = socket.writable.getWriter()
  const text = async () => Buffer.from((await reader.read()).value ?? []).toString()
  const updates = (direction: string) =>
    output()
      .split('\n')
      .filter((line) => line.startsWith(direction) && line.endsWith('KeyUpdate')).length
  // k: its own keys, K: ours as well.
  for (const [i, command] of ['k', 'K', 'K', 'k'].entries()) {
    process.stdin?.write(`${command}\n`)
    await expect.poll(() => updates('>>>')).toBe(i + 1)
    process.stdin?.write(`from the server ${i}\n`)
    expect(await text()).toBe(`from the server ${i}\n`)
    await writer.write(Buffer.from(`from the client ${i}\n`))
    await expect.poll(output).toContain(`from the client ${i}\n`)
  }
  for (let i = 0; i < 10; i++) await writer.write(Buffer.from(`more ${i}\n`))
  await expect.poll(output).toContain('more 9\n')
  // Two were asked for. After the second, each key has three of the twelve records that are left, and there is a change
  // before each but the first three.
  expect(updates('<<<')).toBe(2 + 3)
  await socket.close()
})

test('a server that demands a certificate in its alert, and one of TLS 1.1', async () => {
  const demanding = await opensslServer('P-256', '-tls1_3', '-Verify', '1', '-verify_return_error')
  const socket = await connect(demanding.port, 'P-256')
  await expect(socket.readable.getReader().read()).rejects.toMatchObject({
    code: SETTINGS,
    message: expect.stringMatching(/demands a client certificate.*certificate_required/),
  })
  const old = await opensslServer('RSA 2048', '-tls1_1', '-cipher', 'ALL:@SECLEVEL=0')
  await expect(connect(old.port, 'RSA 2048')).rejects.toMatchObject({
    code: SETTINGS,
    message: expect.stringMatching(/speaks only TLS 1.1 or older/),
  })
})
