import { createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkReachable, checkSource } from '../../../cli/check-source.ts'
import { UsageError } from '../../../cli/problem.ts'
import { RockpoolError } from '../../../protocol/errors.ts'
import { makeCertificates, type Certificates } from '../../../test/support/certificates.ts'
import { freePort, POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../../../test/support/postgres.ts'
import { startProxy, type Startup } from '../../../test/support/source-proxy.ts'
import { checkConnection, connectSource, type ConnectOptions } from '../index.ts'
import { openNodeSocket } from './node-socket.ts'

/** An address of this machine that no name gives away as one. */
const ELSEWHERE = '0.0.0.0'

const ODD_PASSWORD = 'p@ss/w%r d:#?&\\\'"ä'

/** How a connection of this URL is encrypted, `plain`, or why there is none. */
async function tryOut(url: string, options: ConnectOptions = {}): Promise<string> {
  const sql = connectSource(url, options)
  try {
    await checkConnection(sql)
    const [row] = await sql.unsafe<{ version: string | null }[]>(
      'SELECT version FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()',
    )
    return row?.version ?? 'plain'
  } catch (error) {
    if (error instanceof RockpoolError) return `${error.code} ${error.message}`
    throw error
  } finally {
    await sql.end({ timeout: 1 })
  }
}

describe.each(POSTGRES_VERSIONS)('connections to Postgres %i with TLS', (version) => {
  let certificates: Certificates
  let other: Certificates
  let server: TestPostgres
  const urlOf = (user: string, query: string, host = 'localhost') =>
    `postgres://${user}:${encodeURIComponent(ODD_PASSWORD)}@${host}:${server.port}/app?${query}`

  beforeAll(async () => {
    ;[certificates, other] = await Promise.all([makeCertificates(), makeCertificates()])
    const files = {
      'server.crt': certificates.certificate,
      'server.key': certificates.key,
      'pg_hba.conf': `
        host all postgres 127.0.0.1/32 scram-sha-256
        hostssl all secure all scram-sha-256
        hostssl all old all md5
        hostnossl all plain all scram-sha-256
        host all trusted all trust`,
    }
    server = await startPostgres(
      { ssl: 'on', ssl_cert_file: 'server.crt', ssl_key_file: 'server.key' },
      { version, files },
    )
    const sql = server.sql()
    const literal = `'${ODD_PASSWORD.replaceAll("'", "''")}'`
    for (const role of ['secure', 'plain'])
      await sql.unsafe(`CREATE ROLE ${role} LOGIN REPLICATION PASSWORD ${literal}`)
    await sql
      .unsafe(
        `SET password_encryption = 'md5'; CREATE ROLE old LOGIN REPLICATION PASSWORD ${literal}; CREATE ROLE trusted LOGIN REPLICATION`,
      )
      .simple()
  })
  afterAll(() => server?.stop())

  test.each(['sslmode=require', 'ssl=true'])(
    '%s encrypts without verifying, for statements and replication',
    async (query) => {
      expect(await tryOut(urlOf('secure', query))).toMatch(/^TLS/)
      expect(await tryOut(urlOf('secure', query), { replication: true })).toMatch(/^TLS/)
    },
  )

  test('verify-full needs the authority and the name, verify-ca the authority', async () => {
    const { ca } = certificates
    expect(await tryOut(urlOf('secure', 'sslmode=verify-full'), { ca })).toMatch(/^TLS/)
    expect(await tryOut(urlOf('secure', 'sslmode=verify-full'), { ca, replication: true })).toMatch(/^TLS/)
    expect(await tryOut(urlOf('secure', 'sslmode=verify-ca', '127.0.0.1'), { ca })).toMatch(/^TLS/)
    expect(await tryOut(urlOf('secure', 'sslmode=verify-full', '127.0.0.1'), { ca })).toMatch(
      /^ROCKPOOL_SOURCE_TLS TLS with 127.0.0.1:\d+: the certificate of .* not for 127.0.0.1/,
    )
    for (const sslmode of ['require', 'verify-ca', 'verify-full']) {
      expect(await tryOut(urlOf('secure', `sslmode=${sslmode}`), { ca: other.ca })).toMatch(
        /^ROCKPOOL_SOURCE_TLS TLS with localhost:\d+: the chain of the server ends with/,
      )
    }
    for (const query of ['sslmode=verify-ca', 'sslmode=verify-full', 'sslmode=require&channel_binding=require']) {
      expect(await tryOut(urlOf('secure', query))).toMatch(/cannot be verified.*DATABASE_CA/)
    }
  })

  test('passwords: SCRAM, md5, none, with every odd character; a wrong one and a missing database are settings', async () => {
    expect(await tryOut(urlOf('secure', 'sslmode=require'))).toMatch(/^TLS/)
    expect(await tryOut(urlOf('old', 'sslmode=require'))).toMatch(/^TLS/)
    expect(await tryOut(urlOf('plain', 'sslmode=disable'))).toBe('plain')
    // As another keyboard writes it: the last letter is one of two characters.
    const decomposed = ODD_PASSWORD.normalize('NFD')
    expect(decomposed).not.toBe(ODD_PASSWORD)
    expect(await tryOut(server.urlOf({ user: 'plain', password: encodeURIComponent(decomposed) }))).toBe('plain')
    expect(await tryOut(`postgres://trusted@localhost:${server.port}/app`)).toBe('plain')
    expect(await tryOut(server.urlOf({ user: 'plain', password: 'wrong' }))).toMatch(
      /^ROCKPOOL_SOURCE_SETTINGS .*password authentication failed.*28P01/,
    )
    expect(await tryOut(server.urlOf({ database: 'nowhere' }))).toMatch(
      /^ROCKPOOL_SOURCE_SETTINGS .*"nowhere" does not exist.*3D000/,
    )
    expect(await tryOut(urlOf('secure', 'sslmode=disable'))).toMatch(/^ROCKPOOL_SOURCE_SETTINGS .*pg_hba.conf.*28000/)
  })

  test('several hosts: the first that answers', async () => {
    const closed = await freePort()
    const hosts = (ports: number[]) =>
      `postgres://postgres:postgres@${ports.map((port) => `127.0.0.1:${port}`).join(',')}/app`
    expect(await tryOut(hosts([closed, server.port]))).toBe('plain')
    expect(await tryOut(hosts([closed, closed]))).toMatch(
      /^ROCKPOOL_SOURCE_UNREACHABLE none of the hosts can be used: .*ECONNREFUSED.*; .*ECONNREFUSED/,
    )
  })

  test('options of the URL go to Postgres, but do not change how values are printed', async () => {
    const sql = connectSource(
      server.urlOf({ query: 'options=-c%20work_mem%3D1234kB%20-c%20DateStyle%3DGerman&application_name=pool' }),
    )
    await checkConnection(sql)
    const [row] =
      await sql`SELECT current_setting('work_mem') AS memory, current_setting('DateStyle') AS dates, current_setting('application_name') AS name`
    await sql.end()
    expect(row).toEqual({ memory: '1234kB', dates: 'ISO, YMD', name: 'pool' })
  })

  test('the tools report what Cloudflare would not accept', async () => {
    await expect(checkReachable(urlOf('secure', 'sslmode=require'))).rejects.toThrow(
      /Cloudflare Workers will not accept the certificate of localhost.*public authorities/,
    )
    await expect(checkReachable(urlOf('secure', 'sslmode=require'), { DATABASE_CA: other.ca })).rejects.toThrow(
      /not one of the authorities in DATABASE_CA/,
    )
    expect(await checkReachable(urlOf('secure', 'sslmode=require'), { DATABASE_CA: certificates.ca })).toEqual([])
    await expect(checkReachable(urlOf('secure', 'sslmode=prefer'))).rejects.toThrow(UsageError)
    await expect(checkReachable(urlOf('secure', 'sslmode=prefer'))).rejects.toThrow(/Write sslmode=verify-full/)
    expect(await checkSource(server.url)).toEqual([])
  })
})

describe('connections', () => {
  let server: TestPostgres
  beforeAll(async () => {
    server = await startPostgres()
  })
  afterAll(() => server?.stop())
  const at = (port: number, query = '') => `postgres://postgres:postgres@127.0.0.1:${port}/app?${query}`

  test('a server without TLS: only a deployment of an earlier version continues', async () => {
    expect(await tryOut(at(server.port, 'sslmode=prefer'), { earlierTls: true })).toBe('plain')
    // Nothing said, and not the loopback interface by name.
    const elsewhere = at(server.port).replace('127.0.0.1', ELSEWHERE)
    expect(await tryOut(elsewhere)).toMatch(/^ROCKPOOL_SOURCE_SETTINGS .*offers no TLS.*sslmode=verify-full/)
    expect(await tryOut(elsewhere, { earlierTls: true })).toBe('plain')
    for (const sslmode of ['require', 'verify-ca', 'verify-full']) {
      expect(await tryOut(at(server.port, `sslmode=${sslmode}`))).toMatch(
        /^ROCKPOOL_SOURCE_SETTINGS .*offers no TLS.*turn ssl on/,
      )
    }
  })

  test('nothing at the address, another server, a silent server', async () => {
    expect(await tryOut(at(await freePort()))).toMatch(/^ROCKPOOL_SOURCE_UNREACHABLE .*ECONNREFUSED/)
    const web = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
    const silent = createServer(() => {})
    const listen = async (listener: typeof web) => {
      await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
      const address = listener.address()
      if (address === null || typeof address === 'string') throw new Error('no port')
      return address.port
    }
    expect(await tryOut(at(await listen(web), 'sslmode=require'))).toMatch(
      /^ROCKPOOL_SOURCE_UNREACHABLE .*does not speak the protocol of Postgres/,
    )
    expect(await tryOut(at(await listen(silent), 'sslmode=require&connect_timeout=1'))).toMatch(
      /^ROCKPOOL_SOURCE_UNREACHABLE .*did not answer within 1 s/,
    )
    web.close()
    silent.close()
  })

  test('a connection that failed is tried again by the next statement', async () => {
    const sql = connectSource(server.url)
    await server.stopServer()
    await expect(sql`SELECT 1`).rejects.toThrow(/ECONNREFUSED/)
    await expect(sql`SELECT 1`).rejects.toThrow(/ECONNREFUSED/)
    await server.startServer()
    expect(await sql`SELECT 1 AS one`).toEqual([{ one: 1 }])
    await sql.end()
  })

  test('a connection that is ended while it connects is not opened', async () => {
    const open = Promise.withResolvers<void>()
    const late: ConnectOptions = {
      socket: async (address, options) => {
        await open.promise
        return openNodeSocket(address, options)
      },
      applicationName: 'late',
    }
    const sql = connectSource(server.url, late)
    const asked = sql`SELECT 1`.catch((error: unknown) => error)
    await sql.end({ timeout: 0.1 })
    open.resolve()
    expect(await asked).toMatchObject({ code: 'CONNECTION_DESTROYED' })
    await new Promise((resolve) => setTimeout(resolve, 500))
    const other = server.sql()
    expect(await other`SELECT pid FROM pg_stat_activity WHERE application_name = 'late'`).toEqual([])
  })

  test.each<[string, Startup, RegExp]>([
    [
      'PgBouncer before 1.20',
      (parameters) => ({
        refuse: `unsupported startup parameter: ${parameters.has('options') ? 'options' : 'replication'}`,
      }),
      /connection pooler.*unsupported startup parameter/,
    ],
    [
      'PgBouncer that knows no replication',
      (parameters) =>
        parameters.has('replication') ? { refuse: 'unsupported startup parameter: replication' } : { parameters },
      /connection pooler.*unsupported startup parameter: replication/,
    ],
    [
      'one that drops our settings without a word',
      (parameters) => {
        parameters.delete('options')
        return { parameters }
      },
      /does not keep the settings.*search_path is .*connection pooler/,
    ],
    ['RDS Proxy', () => ({ refuse: 'unsupported command-line options' }), /connection pooler/],
  ])('%s is detected before anything is created in the database', async (_, startup, message) => {
    const proxy = await startProxy(server.port, startup)
    await expect(checkReachable(at(proxy.port))).rejects.toThrow(message)
    await proxy.close()
  })

  test('a proxy that passes on what Neon passes on is not taken for a pooler', async () => {
    const passed = new Set(['user', 'database', 'application_name', 'replication', 'options'])
    const proxy = await startProxy(server.port, (parameters) => ({
      parameters: new Map([...parameters].filter(([name]) => passed.has(name))),
    }))
    expect(await checkSource(at(proxy.port))).toEqual([])
    await proxy.close()
  })
})
