import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { POSTGRES_VERSIONS, startPostgres } from '../../../test/support/postgres.ts'
import { startTestWorker, type TestWorker } from '../../../test/support/test-worker.ts'
import { credentials } from '../../../test/tls/credentials.ts'
import { testServer, type AnyBehaviour, type Plan } from '../../../test/tls/attempt.ts'
import { MISBEHAVIOURS } from '../../../test/tls/misbehaviours.ts'
import { MISBEHAVIOURS_12 } from '../../../test/tls/misbehaviours-12.ts'
import { KINDS, ownCertificate, type Kind } from '../../../test/tls/own-certificate.ts'
import type { TestServer } from '../../../test/tls/server.ts'
import { socketEnd } from '../../../test/tls/socket-end.ts'
import type { TlsAnswer, TlsWish } from '../../../test/tls/wish.ts'
import { ContentType } from './parameters.ts'
import { concat, type Bytes } from './wire.ts'

// The client in the runtime that it is for: BoringSSL's algorithms, and sockets that fill a buffer of ours.

let worker: TestWorker
const running: Server[] = []

beforeAll(async () => {
  worker = await startTestWorker(fileURLToPath(new URL('../../../test/workerd/tls.ts', import.meta.url)))
})
afterEach(() => running.splice(0).forEach((server) => server.close()))
afterAll(() => worker?.stop())

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  running.push(server)
  return (server.address() as AddressInfo).port
}

async function ask(wish: TlsWish): Promise<TlsAnswer> {
  const response = await fetch(worker.url, { method: 'POST', body: JSON.stringify(wish) })
  return (await response.json()) as TlsAnswer
}

async function echoing(kind: Kind, options: TlsOptions = {}): Promise<number> {
  const server = createTlsServer({ ...(await ownCertificate(kind)), ...options }, (socket) =>
    socket.on('error', () => {}).pipe(socket),
  )
  return listening(server.on('tlsClientError', () => {}))
}

/** A server of ours for one connection. */
async function own(
  behaviour: AnyBehaviour,
  then: (server: TestServer) => unknown,
  usual = credentials(0x0403),
): Promise<number> {
  const key = await usual
  const serve = async (socket: Socket) => {
    const server = testServer(socketEnd(socket), key, behaviour)
    if (await server.accept()) await then(server)
  }
  return listening(createServer((socket) => void serve(socket).catch(() => socket.destroy())))
}

test.each(Object.keys(KINDS).filter((kind) => kind !== 'RSA-PSS') as Kind[])(
  'a server with a key of %s',
  async (kind) => {
    const port = await echoing(kind, { ALPNProtocols: ['postgresql'] })
    expect(await ask({ port, echo: 100_000 })).toMatchObject({
      outcome: 'read 100000',
      group: 'X25519',
      alpn: 'postgresql',
    })
  },
)

test.each([
  ['P-256', 'TLS_AES_128_GCM_SHA256', 'P-256'],
  ['P-384', 'TLS_AES_256_GCM_SHA384', 'P-384'],
])('a server of the group %s and the suite %s', async (ecdhCurve, suite, group) => {
  const port = await echoing('P-256', { ecdhCurve, ciphers: suite })
  expect(await ask({ port, echo: 10 })).toMatchObject({ outcome: 'read 10', suite, group })
})

test('8 MB in both directions, while our keys change', async () => {
  const port = await echoing('P-256')
  const answer = await ask({ port, echo: 8 * 1024 * 1024, recordsOfAKey: 100 })
  expect(answer).toMatchObject({ outcome: `read ${8 * 1024 * 1024}` })
  // Of 64 KB, or nearly: not of a record each.
  expect(answer.chunks).toBeLessThan(400)
})

test.each([[[0]], [[150]], [[299]], [[10, 11]]])('300 records with key updates at %j', async (updates) => {
  const port = await own({}, async (server) => {
    const records: Bytes[] = []
    for (let i = 0; i < 300; i++)
      records.push(
        updates.includes(i)
          ? await server.update(true)
          : await server.sealed(ContentType.applicationData, new Uint8Array(40)),
      )
    server.raw(concat(...records))
    await server.send(ContentType.alert, new Uint8Array([1, 0]))
  })
  expect(await ask({ port })).toMatchObject({ outcome: `read ${(300 - updates.length) * 40}` })
})

test.each(POSTGRES_VERSIONS)('Postgres %i, up to its answer to the startup packet', async (version) => {
  const { cert, key } = await ownCertificate('P-256')
  const files = { 'server.crt': cert, 'server.key': key }
  const server = await startPostgres(
    { ssl: 'on', ssl_cert_file: 'server.crt', ssl_key_file: 'server.key' },
    { version, files },
  )
  try {
    const text = new TextEncoder().encode('\0\x03\0\0user\0postgres\0\0')
    const startup = [0, 0, 0, text.length + 4, ...text]
    const answer = await ask({ port: Number(new URL(server.url).port), startup })
    // A request to log in, over the protocol that it was offered from 17 on.
    expect(answer).toMatchObject({
      outcome: 'R',
      suite: 'TLS_AES_256_GCM_SHA384',
      alpn: version < 17 ? null : 'postgresql',
    })
  } finally {
    await server.stop()
  }
})

test('a server that behaves, and ends', async () => {
  const port = await own({}, async (server) => {
    await server.send(ContentType.applicationData, new Uint8Array(5))
    await server.send(ContentType.alert, new Uint8Array([1, 0]))
  })
  expect(await ask({ port })).toMatchObject({ outcome: 'read 5' })
})

test.each<[string, Plan & { says: RegExp }]>([...MISBEHAVIOURS, ...MISBEHAVIOURS_12])('%s', async (_, misbehaviour) => {
  const { says } = misbehaviour
  const port = await own(misbehaviour, (server) => misbehaviour.after?.(server), misbehaviour.credentials?.())
  const waits = says.source.includes('deadline')
  const { outcome } = await ask({ port, deadlineMs: waits ? 100 : 5_000 })
  // What the runtime says of a reset, and of a deadline, is its own.
  expect(outcome).toMatch(waits ? /timeout|aborted/ : says.source.includes('ECONNRESET') ? /broke off/ : says)
})
