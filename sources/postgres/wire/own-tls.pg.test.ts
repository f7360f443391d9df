import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { connect as connectTls, createSecureContext, TLSSocket, type SecureContextOptions } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { encryptionOf } from '../../../cli/check-encryption.ts'
import { sql as runSql } from '../../../cli/sql.ts'
import { RockpoolError } from '../../../protocol/errors.ts'
import { alternatives, authority, dns, ip, makeKeys, utc, type Wanted } from '../tls/chain/test-authority.ts'
import { POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../../../test/support/postgres.ts'
import { generator } from '../../../test/support/random.ts'
import { certificatePem, privateAuthority, SSL, type ServerFiles } from '../../../test/support/private-authority.ts'
import { startSourceWorker, type SourceWorker } from '../../../test/support/source-worker.ts'
import { until } from '../../../test/support/support.ts'
import { checkConnections } from './check-connections.ts'
import { connectSource } from './connection.ts'

// A database whose certificate is from an authority of its host, reached from workerd and from Node: both must
// say the same.
// The file is long because every case runs from both runtimes against one database.

const PASSWORD = 'a-password-of-the-database'
const ours = privateAuthority('Host')
/** For workerd a public authority. */
const others = privateAuthority('Public')

/** An authority whose signatures name no hash. */
const edwards = authority({ cn: ['Edwards'], keys: makeKeys.ed25519() })
const ed25519 = certificatePem(edwards)

let worker: SourceWorker
const running: { close(): unknown }[] = []

beforeAll(async () => {
  worker = await startSourceWorker(others.ca)
})
afterEach(() => running.splice(0).forEach((each) => each.close()))
afterAll(() => worker?.stop())

type Asked = { encryption: string } | { problem: string }

async function fromNode(url: string, ca: string): Promise<Asked> {
  try {
    const sql = connectSource(url, { ca })
    const walsender = connectSource(url, { ca, replication: true })
    try {
      await checkConnections(sql, walsender)
      const [row] = await sql.unsafe<{ version: string | null }[]>(
        'SELECT version FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()',
      )
      return { encryption: row?.version ?? 'plain' }
    } finally {
      await Promise.all([sql.end({ timeout: 1 }), walsender.end({ timeout: 1 })])
    }
  } catch (error) {
    if (error instanceof RockpoolError) return { problem: `${error.code} ${error.message}` }
    throw error
  }
}

const RUNTIMES = {
  workerd: async (url: string, ca = ours.ca) => (await worker.ask({ url, ca })) as Asked,
  node: (url: string, ca = ours.ca) => fromNode(url, ca),
}

const HAS_IPV6 = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === '::1'))
const ENCRYPTED = { encryption: 'TLSv1.3' }
const refused = (message: RegExp) => ({ problem: expect.stringMatching(message) })

/** Something between us and the database. `heard`: all that we ever sent it. */
async function between(serve: (socket: Socket) => void): Promise<{ port: number; heard: () => string }> {
  let heard = ''
  const server: Server = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (bytes) => (heard += bytes.toString('latin1')))
    serve(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  running.push(server)
  return { port: (server.address() as AddressInfo).port, heard: () => heard }
}

/**
 * Where there is an answer: a machine that others use as well may need longer for it than the 2 s of those who are
 * waited for in vain.
 */
const patient = (url: string) => url.replace('connect_timeout=2', 'connect_timeout=20')

const SSL_REQUEST = '\0\0\0\x08\x04\xd2\x16\x2f'
const at = (port: number, query = 'sslmode=verify-full', host = 'localhost') =>
  `postgres://secure:${PASSWORD}@${host}:${port}/app?connect_timeout=2&${query}`

describe.each(POSTGRES_VERSIONS)('TLS with DATABASE_CA to Postgres %i', (version) => {
  let server: TestPostgres
  const urlOf = (query?: string, host?: string) => at(server.port, query, host)

  beforeAll(async () => {
    const files = {
      ...ours.issue(),
      'pg_hba.conf':
        'host all postgres 127.0.0.1/32 scram-sha-256\nhostssl all secure all scram-sha-256\nhostssl all clear all password',
    }
    server = await startPostgres({ ...SSL, listen_addresses: '127.0.0.1,::1' }, { version, files })
    await server.sql().unsafe(`CREATE ROLE secure LOGIN SUPERUSER REPLICATION PASSWORD '${PASSWORD}'`)
    await server.sql().unsafe(`CREATE ROLE clear LOGIN REPLICATION PASSWORD '${PASSWORD}'`)
    await server.sql()`CREATE TABLE t (id int PRIMARY KEY, x text)`
  })
  afterAll(() => server?.stop())

  async function present(files: ServerFiles): Promise<void> {
    for (const [name, content] of Object.entries(files)) await server.write(name, content)
    await server.restart()
  }

  test('workerd streams, with a pause in the middle', async () => {
    expect(await worker.ask({ url: urlOf(), ca: ours.ca, rows: 20_000 })).toEqual({ ...ENCRYPTED, seen: 20_000 })
  })

  test('bytes arrive in pieces of any size, and records are cut anywhere: nothing is lost', async () => {
    const random = generator(7)
    const { port } = await between((socket) => {
      socket.setNoDelay(true)
      const onward = connect(server.port, '127.0.0.1').on('error', () => socket.destroy())
      socket.pipe(onward)
      onward.on('close', () => socket.destroy())
      onward.on('data', (bytes: Buffer) => {
        for (let from = 0; from < bytes.length;) {
          const to = from + (random() < 0.5 ? 1 + Math.floor(random() * 8) : 1 + Math.floor(random() * 20_000))
          socket.write(bytes.subarray(from, to))
          from = to
        }
      })
    })
    // The walsender of the last connection ends a moment after its client.
    await until('the slot to be free', async () => {
      const active = await server.sql()`SELECT FROM pg_replication_slots WHERE active`
      return active.length === 0
    })
    await server.sql()`SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots`
    await server.sql()`TRUNCATE t`
    expect(await worker.ask({ url: at(port), ca: ours.ca, rows: 5_000 })).toEqual({ ...ENCRYPTED, seen: 5_000 })
  })

  test('the command line says how it is encrypted and what the edge will do; the SQL command connects the same way', async () => {
    const agreed = /^localhost:\d+: TLS 1\.3, TLS_AES_\d+_GCM_SHA\d+, \S+, \S.* certificate by "CN=Host servers"/
    const [line, ...more] = await encryptionOf(urlOf(), ours.ca)
    expect(more).toEqual([])
    expect(line).toMatch(agreed)
    expect(line).toMatch(/On the edge the same code asks the same authorities: those of DATABASE_CA$/)
    expect(await encryptionOf(urlOf('sslmode=require'), 'none')).toEqual([
      expect.stringMatching(
        /nobody vouches for\. On the edge the same code accepts any certificate, and the login, bound to it, is the proof$/,
      ),
    ])
    // The runtime's own TLS, which does not verify for `require` here.
    expect(await encryptionOf(urlOf('sslmode=require'), undefined)).toEqual([expect.stringMatching(agreed)])
    expect(await encryptionOf(urlOf('sslmode=disable'), undefined)).toEqual([
      expect.stringMatching(/: plain text, here and on the edge$/),
    ])
    vi.stubEnv('DATABASE_CA', ours.ca)
    try {
      const options = { databaseUrl: patient(urlOf()), data: '/nowhere' }
      expect(await runSql('SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()', options)).toContain('TLSv1.3')
      expect(await runSql('SHOW search_path', options)).toContain('public')
      vi.stubEnv('DATABASE_CA', others.ca)
      await expect(runSql('SELECT 1', options)).rejects.toThrow(/not one of the authorities in DATABASE_CA/)
    } finally {
      vi.unstubAllEnvs()
    }
  })

  describe.each(Object.entries(RUNTIMES))('from %s', (_, ask) => {
    test('statements and replication, with a root and an authority below it; no sslmode and require mean verify-full', async () => {
      for (const query of ['sslmode=verify-full', 'sslmode=require', 'ssl=true', 'sslmode=verify-ca'])
        expect(await ask(urlOf(query))).toEqual(ENCRYPTED)
    })

    test('another host: only verify-ca ignores the name, and sends no password in clear text', async () => {
      for (const query of ['sslmode=verify-full', 'sslmode=require', 'application_name=x'])
        expect(await ask(urlOf(query, '0.0.0.0'))).toEqual(
          refused(
            /^ROCKPOOL_SOURCE_TLS TLS with 0.0.0.0:\d+: the certificate of "CN=localhost" is for localhost, and not for 0.0.0.0. Connect to a host that it names/,
          ),
        )
      expect(await ask(urlOf('sslmode=verify-ca', '0.0.0.0'))).toEqual(ENCRYPTED)
      expect(await ask(urlOf('sslmode=verify-ca', '0.0.0.0').replace('secure', 'clear'))).toEqual(
        refused(/asks for the password in clear text/),
      )
      expect(await ask(urlOf().replace('secure', 'clear'))).toEqual(ENCRYPTED)
    })

    test('an authority that is not in DATABASE_CA, also when it is a public one', async () => {
      const message =
        /^ROCKPOOL_SOURCE_TLS TLS with localhost:\d+: the chain of the server ends with .* not one of the authorities in DATABASE_CA .*"CN=Public root"/
      expect(await ask(urlOf(), others.ca)).toEqual(refused(message))
      await present(others.issue())
      expect(await ask(urlOf())).toEqual(refused(/^ROCKPOOL_SOURCE_TLS .*"CN=Host root"/))
      expect(await ask(urlOf(), others.ca)).toEqual(ENCRYPTED)
      await present(ours.issue())
    })

    test('an authority is renewed: both count for a while, then the old one is removed', async () => {
      const next = privateAuthority('Next')
      expect(await ask(urlOf(), ours.ca + next.ca)).toEqual(ENCRYPTED)
      await present(next.issue())
      expect(await ask(urlOf(), ours.ca + next.ca)).toEqual(ENCRYPTED)
      await present(ours.issue())
      expect(await ask(urlOf(), next.ca)).toEqual(
        refused(
          /^ROCKPOOL_SOURCE_TLS .*ends with .*"CN=Host servers".*get its certificate from there, not from the server/,
        ),
      )
    })

    test('a certificate that has expired, and one that is for clients', async () => {
      await present(ours.issue({ to: utc('210101000000Z') }))
      expect(await ask(urlOf())).toEqual(refused(/^ROCKPOOL_SOURCE_TLS .*expired on 2021-01-01T00:00:00Z. Renew it/))
      await present(ours.issue())
    })

    test('a server of TLS 1.2, with keys of both kinds, also bound to its certificate; one of TLS 1.1 is refused as such', async () => {
      await server.sql().unsafe(`ALTER SYSTEM SET ssl_max_protocol_version = 'TLSv1.2'`)
      for (const keys of [makeKeys.p256(), makeKeys.p384(), makeKeys.rsa()]) {
        await present(ours.issue({ keys }))
        for (const binding of ['require', 'disable'])
          expect(await ask(urlOf(`sslmode=require&channel_binding=${binding}`))).toEqual({ encryption: 'TLSv1.2' })
      }
      expect(await ask(urlOf('sslmode=require', '0.0.0.0'))).toEqual(
        refused(/^ROCKPOOL_SOURCE_TLS .*is for localhost, and not for 0.0.0.0/),
      )
      expect(await ask(urlOf(), others.ca)).toEqual(
        refused(/^ROCKPOOL_SOURCE_TLS .*not one of the authorities in DATABASE_CA/),
      )
      await server.sql().unsafe(`ALTER SYSTEM SET ssl_min_protocol_version = 'TLSv1.1'`)
      await server.sql().unsafe(`ALTER SYSTEM SET ssl_max_protocol_version = 'TLSv1.1'`)
      await server.restart()
      expect(await ask(urlOf())).toEqual(
        refused(/^ROCKPOOL_SOURCE_SETTINGS TLS with localhost:\d+: the server speaks only TLS 1.1 or older/),
      )
      await server.sql().unsafe('ALTER SYSTEM RESET ssl_max_protocol_version')
      await server.sql().unsafe('ALTER SYSTEM RESET ssl_min_protocol_version')
      await present(ours.issue())
    })

    test('TLS 1.2 without its repairs, and an attacker in between who hides 1.3', async () => {
      const { port } = await withKey(() => {}, ours.issue(), {
        maxVersion: 'TLSv1.2',
        secureOptions: NO_EXTENDED_MASTER_SECRET,
      })
      expect(await ask(at(port))).toEqual(
        refused(/^ROCKPOOL_SOURCE_SETTINGS .*TLS 1.2 without the extended master secret/),
      )
      const { port: downgrading } = await between((socket) => {
        const onward = connect(server.port, '127.0.0.1').on('error', () => socket.destroy())
        // supported_versions, which offers 1.3 and 1.2, becomes an extension that nobody knows.
        const offer = Buffer.from([0, 43, 0, 5, 4, 3, 4, 3, 3])
        socket.on('data', (bytes) => {
          const at = bytes.indexOf(offer)
          if (at >= 0) bytes[at] = 0xfa
          onward.write(bytes)
        })
        socket.on('close', () => onward.destroy())
        onward.on('close', () => socket.destroy()).pipe(socket)
      })
      expect(await ask(at(downgrading))).toEqual(
        refused(/^ROCKPOOL_SOURCE_UNREACHABLE .*somebody in between makes it choose an older version/),
      )
    })

    test('a login is bound to the certificate, for any signature and password, except where it is disabled', async () => {
      const kinds: [string, Wanted][] = [
        ['RSA 2048', { keys: makeKeys.rsa() }],
        ['P-384, signed with SHA-384', { keys: makeKeys.p384(), hash: 'sha384' }],
      ]
      for (const [, wanted] of kinds) {
        await present(ours.issue(wanted))
        for (const binding of ['require', 'prefer', 'disable'])
          expect(await ask(urlOf(`sslmode=require&channel_binding=${binding}`))).toEqual(ENCRYPTED)
      }
      await present(ours.issue())
      for (const password of [
        'p w:/?#@',
        'e\u0301',
        '\u00a0x\u00ad\u200b',
        '\ufb01\u2168',
        'a\u0007',
        '\u05d0a',
        '\u05d0\ufb20',
        'x\u200fy\u2168',
        '\u{1f600}',
      ]) {
        await server.sql().unsafe(`ALTER ROLE secure PASSWORD '${password.replaceAll("'", "''")}'`)
        const url = urlOf('sslmode=require&channel_binding=require').replace(PASSWORD, encodeURIComponent(password))
        expect([password, await ask(url)]).toEqual([password, ENCRYPTED])
        expect(await ask(url.replace('@', '1@'))).toEqual(
          refused(/^ROCKPOOL_SOURCE_SETTINGS .*password authentication failed/),
        )
      }
      await server.sql().unsafe(`ALTER ROLE secure PASSWORD '${PASSWORD}'`)
    })

    test('channel_binding=require is refused where the server does not offer it, and no password is sent', async () => {
      expect(await ask(urlOf('sslmode=require&channel_binding=require').replace('secure', 'clear'))).toEqual(
        refused(
          /^ROCKPOOL_SOURCE_SETTINGS channel_binding=require is not possible with localhost:\d+: it does not offer SCRAM-SHA-256-PLUS/,
        ),
      )
      await present(ours.issue({ by: edwards }))
      expect(await ask(urlOf('sslmode=require&channel_binding=require'), ed25519)).toEqual(
        refused(/^ROCKPOOL_SOURCE_SETTINGS .*names no hash to bind to \(Ed25519\)/),
      )
      expect(await ask(urlOf(), ed25519)).toEqual(ENCRYPTED)
      await present(ours.issue())
    })

    test('sslnegotiation=direct: Postgres 17 and newer is asked nothing in plain text; an older one is reported as such', async () => {
      const { port, heard } = await between((socket) => {
        const onward = connect(server.port, '127.0.0.1').on('error', () => socket.destroy())
        socket.pipe(onward).pipe(socket)
        onward.on('close', () => socket.destroy())
      })
      const answer = await ask(at(port, 'sslmode=require&sslnegotiation=direct'))
      if (version >= 17) expect(answer).toEqual(ENCRYPTED)
      else
        expect(answer).toEqual(
          refused(/^ROCKPOOL_SOURCE_UNREACHABLE .*sslnegotiation=direct is for Postgres 17 and newer/),
        )
      expect(heard()).not.toContain(SSL_REQUEST)
    })

    test.runIf(HAS_IPV6)('an IPv6 address in the URL, and in the certificate', async () => {
      await present(ours.issue({ extensions: [alternatives([ip(...new Array<number>(15).fill(0), 1)])] }))
      expect(await ask(urlOf('sslmode=verify-full', '[::1]'))).toEqual(ENCRYPTED)
      expect(await ask(urlOf())).toEqual(
        refused(/^ROCKPOOL_SOURCE_TLS TLS with localhost:\d+: .* is for ::1, and not for localhost/),
      )
      await present(ours.issue())
      expect(await ask(urlOf('sslmode=verify-full', '[::1]'))).toEqual(
        refused(/^ROCKPOOL_SOURCE_TLS TLS with \[::1\]:\d+: .* is for localhost, and not for ::1/),
      )
    })

    test('DATABASE_CA=none: any certificate, and only a login that is bound to it; a sslmode that verifies contradicts it', async () => {
      const none = (query: string, user = 'secure') => ask(patient(urlOf(query)).replace('secure', user), 'none')
      for (const query of ['sslmode=require', 'sslmode=require&channel_binding=require'])
        expect(await none(query)).toEqual(ENCRYPTED)
      await present(others.issue({ to: utc('210101000000Z') }))
      expect(await ask(at(server.port, 'sslmode=require', '0.0.0.0'), 'none')).toEqual(ENCRYPTED)
      expect(await none('sslmode=require', 'clear')).toEqual(
        refused(
          /^ROCKPOOL_SOURCE_SETTINGS DATABASE_CA=none is not possible with localhost:\d+: it does not offer SCRAM-SHA-256-PLUS/,
        ),
      )
      expect(await none('sslmode=verify-full')).toEqual(
        refused(/^ROCKPOOL_SETTINGS DATABASE_CA accepts any certificate/),
      )
      await present(ours.issue({ by: edwards }))
      expect(await none('sslmode=require')).toEqual(
        refused(/^ROCKPOOL_SOURCE_SETTINGS DATABASE_CA=none is not possible .*Ed25519/),
      )
      await present(ours.issue())
    })

    test('an attacker who terminates TLS and passes the login on is detected by the binding with DATABASE_CA=none', async () => {
      const files = others.issue()
      const { port } = await between((raw) => {
        raw.once('data', () => {
          raw.removeAllListeners('data').write('S')
          const near = new TLSSocket(raw, { isServer: true, cert: files['server.crt'], key: files['server.key'] })
          const plain = connect(server.port, '127.0.0.1', () => plain.write(Buffer.from(SSL_REQUEST, 'latin1')))
          plain.once('data', () => {
            const far = connectTls({ socket: plain, rejectUnauthorized: false })
            near.pipe(far).pipe(near)
            for (const end of [near, far]) end.on('error', () => raw.destroy())
          })
        })
      })
      expect(await ask(patient(at(port, 'sslmode=require')), 'none')).toEqual(
        refused(/^ROCKPOOL_SOURCE_TLS TLS is terminated between us and Postgres.*channel binding check failed/),
      )
    })

    test('an attacker in between with a certificate of a public authority for this very host', async () => {
      const impostor = await startPostgres(SSL, { version, files: { ...others.issue() } })
      try {
        expect(await ask(at(impostor.port))).toEqual(
          refused(/^ROCKPOOL_SOURCE_TLS .*not one of the authorities in DATABASE_CA/),
        )
        expect(impostor.log).not.toMatch(/secure/)
      } finally {
        await impostor.stop()
      }
    })

    test('a proxy that passes bytes on changes nothing, and one that changes a byte of a record ends the connection', async () => {
      let change = false
      const { port, heard } = await between((socket) => {
        const onward = connect(server.port, '127.0.0.1').on('error', () => socket.destroy())
        let sent = 0
        socket.on('data', (bytes) => (sent++, onward.write(bytes))).on('close', () => onward.destroy())
        onward.on('close', () => socket.destroy())
        onward.on('data', (bytes: Buffer) => {
          // Behind the request, the hello and the end of the handshake.
          if (change && sent >= 3) bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1
          socket.write(bytes)
        })
      })
      expect(await ask(at(port))).toEqual(ENCRYPTED)
      expect(heard()).not.toMatch(/secure|application_name|rockpool|SELECT/)
      change = true
      expect(await ask(at(port))).toEqual(
        refused(/^ROCKPOOL_SOURCE_UNREACHABLE .*(bad_record_mac|not decrypt|a record)/),
      )
    })
  })
})

/** Of OpenSSL: SSL_OP_NO_EXTENDED_MASTER_SECRET. */
const NO_EXTENDED_MASTER_SECRET = 1

/** Speaks TLS when it is asked to, with the certificate of the database, and not as Postgres. */
const withKey = (
  serve: (socket: TLSSocket, raw: Socket) => void,
  files: ServerFiles = ours.issue(),
  options: SecureContextOptions = {},
) =>
  between((raw) => {
    raw.once('data', () => {
      raw.removeAllListeners('data').write('S')
      const socket = new TLSSocket(raw, {
        isServer: true,
        secureContext: createSecureContext({ cert: files['server.crt'], key: files['server.key'], ...options }),
      })
      socket.on('error', () => {}).once('secure', () => serve(socket, raw))
    })
  })

describe.each(Object.entries(RUNTIMES))(
  'a server with the key of the database that is not Postgres, from %s',
  (_, ask) => {
    const startup = (then: (socket: TLSSocket, raw: Socket) => void) =>
      withKey((socket, raw) => void socket.once('data', () => then(socket, raw)))
    const offer = Buffer.from('R\0\0\0\x2a\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0')

    const notice = Buffer.from('N\0\0\0\x0dMwait\0\0\0\0')

    test.each<[string, (socket: TLSSocket, raw: Socket) => void, RegExp]>([
      ['says nothing', () => {}, /^ROCKPOOL_SOURCE_UNREACHABLE .*CONNECT_TIMEOUT/],
      [
        'says nothing more behind its offer',
        (socket) => void socket.write(offer),
        /^ROCKPOOL_SOURCE_UNREACHABLE .*CONNECT_TIMEOUT/,
      ],
      [
        'says something again and again, and never asks',
        (socket) => {
          const talking = setInterval(() => socket.write(notice), 100)
          socket.once('close', () => clearInterval(talking))
        },
        /^ROCKPOOL_SOURCE_UNREACHABLE .*CONNECT_TIMEOUT/,
      ],
      [
        'lets us in without a proof',
        (socket) => void socket.write(Buffer.concat([offer, Buffer.from('R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I')])),
        /^ROCKPOOL_SOURCE_TLS .*did not prove that it knows the password/,
      ],
      [
        'asks for nothing',
        (socket) => void socket.write('Z\0\0\0\x05I'),
        /^ROCKPOOL_SOURCE_UNREACHABLE .*does not speak the protocol/,
      ],
      [
        'goes on in plain text',
        (_, raw) => void raw.write('R\0\0\0\x08\0\0\0\0'),
        /^ROCKPOOL_SOURCE_UNREACHABLE .*TLS with localhost/,
      ],
      ['breaks off', (_, raw) => void raw.end(), /^ROCKPOOL_SOURCE_UNREACHABLE .*broke off without a close_notify/],
      [
        'ends',
        (socket) => void socket.end(),
        /^ROCKPOOL_SOURCE_UNREACHABLE localhost:\d+ closed the connection before the login was complete/,
      ],
    ])('%s', async (_, then, message) => {
      const { port } = await startup(then)
      expect(await ask(at(port))).toEqual(refused(message))
    })
  },
)

test('sslnegotiation=direct refuses a server that has the key of the database but does not speak Postgres', async () => {
  const files = ours.issue()
  const { port } = await between((raw) => {
    const socket = new TLSSocket(raw, { isServer: true, cert: files['server.crt'], key: files['server.key'] })
    socket.on('error', () => {})
  })
  for (const ask of Object.values(RUNTIMES))
    expect(await ask(at(port, 'sslmode=require&sslnegotiation=direct'))).toEqual(
      refused(/^ROCKPOOL_SOURCE_SETTINGS .*does not say that it speaks Postgres/),
    )
})

describe('SOURCE_BINDING', () => {
  const url = (query: string) => `postgres://secure:${PASSWORD}@db.internal/app?connect_timeout=20&${query}`

  test('leads to a database of another name, in plain text and over our own TLS; its certificate is verified for that name', async () => {
    const extensions = [alternatives([dns('db.internal')])]
    const server = await startPostgres(SSL, { files: { ...ours.issue({ extensions }) } })
    try {
      await server.sql().unsafe(`CREATE ROLE secure LOGIN SUPERUSER REPLICATION PASSWORD '${PASSWORD}'`)
      await server.sql()`CREATE TABLE t (id int PRIMARY KEY, x text)`
      const bound = { bound: server.port }
      expect(await worker.ask({ url: url('sslmode=disable'), ...bound })).toEqual({ encryption: 'plain' })
      expect(await worker.ask({ url: url('sslmode=verify-full'), ca: ours.ca, ...bound })).toEqual(ENCRYPTED)
      expect(await worker.ask({ url: url('sslmode=require'), ca: ours.ca, rows: 5_000, ...bound })).toEqual({
        ...ENCRYPTED,
        seen: 5_000,
      })
      expect(await worker.ask({ url: url('sslmode=verify-full'), ca: others.ca, ...bound })).toEqual(
        refused(/^ROCKPOOL_SOURCE_TLS TLS with db.internal:5432: .*not one of the authorities/),
      )
    } finally {
      await server.stop()
    }
  })

  test('without connect() is refused by name, and one that leads nowhere is unreachable', async () => {
    expect(await worker.ask({ url: url('sslmode=disable'), bound: null })).toEqual(
      refused(/^ROCKPOOL_SETTINGS SOURCE_BINDING: it must be a binding/),
    )
    expect(await worker.ask({ url: url('sslmode=verify-full'), ca: ours.ca, bound: 1 })).toEqual(
      refused(/^ROCKPOOL_SOURCE_UNREACHABLE/),
    )
  })
})

test('while workerd does not read, a server can send only a bounded amount; then all of it arrives', async () => {
  const BYTES = 64 * 1024 * 1024
  const server = await withKey((socket) => {
    const piece = Buffer.alloc(256 * 1024)
    for (let i = 0; i < BYTES / piece.length; i++) socket.write(piece)
  })
  let sent = 0
  const { port } = await between((socket) => {
    const onward = connect(server.port, '127.0.0.1').on('error', () => socket.destroy())
    socket.pipe(onward)
    onward.pipe(socket)
    setTimeout(() => (sent = socket.bytesWritten - socket.writableLength), 1_500)
  })
  const answer = await worker.ask({ url: at(port), ca: ours.ca, pausedMs: 2_500, bytes: BYTES })
  expect(answer).toMatchObject({ bytes: BYTES })
  expect(sent).toBeGreaterThan(0)
  // What the two kernels hold between them, and one read.
  expect(sent).toBeLessThan(BYTES / 4)
})

describe.each(Object.entries(RUNTIMES))('a server that is not Postgres, from %s', (_, ask) => {
  test.each<[string, Buffer | null, RegExp]>([
    [
      'that there is no TLS',
      Buffer.from('N'),
      /^ROCKPOOL_SOURCE_TLS localhost:\d+ offers no TLS, and DATABASE_CA requires it: turn ssl on/,
    ],
    [
      'more than it was asked, in plain text',
      Buffer.from('SR\0\0\0\x08\0\0\0\0'),
      /^ROCKPOOL_SOURCE_UNREACHABLE .*does not speak the protocol of Postgres/,
    ],
    [
      'an error',
      Buffer.from('E\0\0\0\x0aFATAL\0'),
      /^ROCKPOOL_SOURCE_UNREACHABLE .*does not speak the protocol of Postgres/,
    ],
    ['nothing', null, /^ROCKPOOL_SOURCE_UNREACHABLE .*did not answer within 2 s/],
  ])('says %s, and is sent only the request for TLS', async (_, answer, message) => {
    const { port, heard } = await between((socket) => void (answer && socket.once('data', () => socket.write(answer))))
    // What the URL asks for makes no difference.
    for (const query of answer
      ? ['sslmode=verify-full', 'sslmode=require', 'sslmode=verify-ca']
      : ['sslmode=verify-full']) {
      expect(await ask(at(port, query))).toEqual(refused(message))
    }
    expect(heard().replaceAll(SSL_REQUEST, '')).toBe('')
  })

  test.each<[string, Buffer, RegExp]>([
    ['a login, in plain text behind the answer', Buffer.from('R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I'), /does not speak TLS/],
    ['a record that never ends', Buffer.from([22, 3, 3, 64, 0]), /did not answer within 2 s/],
    ['a record that is too long', Buffer.from([22, 3, 3, 64, 1]), /a record is too long/],
    ['data in a record without keys', Buffer.from([23, 3, 3, 0, 3, 82, 0, 0]), /a record is of a wrong type/],
    ['a half of a hello, and the end', Buffer.from([22, 3, 3, 0, 90, 2, 0, 0, 86]), /did not answer within 2 s/],
  ])('says S, then %s', async (_, more, message) => {
    const { port, heard } = await between((socket) => {
      socket.once('data', () => {
        socket.write('S')
        // A packet of its own, whenever it comes.
        socket.once('data', () => socket.write(more))
      })
    })
    expect(await ask(at(port))).toEqual(refused(message))
    expect(heard()).not.toMatch(/secure|rockpool/)
  })

  test('hangs up at each step', async () => {
    for (const answers of [[], ['S'], ['S', Buffer.from([22, 3, 3, 0, 90, 2])]]) {
      const { port } = await between((socket) => {
        const next = () => void (answers.length > 0 ? socket.write(answers.shift() ?? '') : socket.end())
        socket.on('data', next)
      })
      expect(await ask(at(port))).toEqual(refused(/^ROCKPOOL_SOURCE_UNREACHABLE/))
    }
  })
})

test('DATABASE_CA contradicts sslmode=disable; on this machine it does not apply', async () => {
  expect(() => connectSource('postgres://u:p@db.example/d?sslmode=disable', { ca: ours.ca })).toThrow(
    /^DATABASE_CA names .* remove one of them/,
  )
  expect(() => connectSource('postgres://u:p@127.0.0.1/d', { ca: ours.ca })).not.toThrow()
  expect(() => connectSource('postgres://u:p@127.0.0.1/d?sslmode=verify-full', { ca: 'no certificate' })).toThrow(
    /DATABASE_CA: it contains no certificate/,
  )
})
