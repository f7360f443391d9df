import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeCertificates, type Certificates } from '../../../test/support/certificates.ts'
import { POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../../../test/support/postgres.ts'
import { startSourceWorker, type SourceWorker } from '../../../test/support/source-worker.ts'

describe.each(POSTGRES_VERSIONS)('TLS from workerd to Postgres %i', (version) => {
  let certificates: Certificates
  let server: TestPostgres
  /** One trusts what is in the system's store only, the other our authority as if it were a public one. */
  const workers = new Map<'stranger' | 'trusting', SourceWorker>()

  beforeAll(async () => {
    certificates = await makeCertificates()
    const files = { 'server.crt': certificates.certificate, 'server.key': certificates.key }
    server = await startPostgres(
      { ssl: 'on', ssl_cert_file: 'server.crt', ssl_key_file: 'server.key' },
      { version, files },
    )
    await server.sql()`CREATE TABLE t (id int PRIMARY KEY, x text)`
    workers.set('stranger', await startSourceWorker())
    workers.set('trusting', await startSourceWorker(certificates.ca))
  })
  afterAll(async () => {
    for (const worker of workers.values()) await worker.stop()
    await server?.stop()
  })

  async function ask(
    name: 'stranger' | 'trusting',
    query: string,
    more: { host?: string; ca?: string; rows?: number } = {},
  ): Promise<unknown> {
    const { host = 'localhost', ...rest } = more
    return workers.get(name)?.ask({ url: `postgres://postgres:postgres@${host}:${server.port}/app?${query}`, ...rest })
  }

  test.each(['require', 'verify-ca', 'verify-full'])(
    'sslmode=%s encrypts and verifies, never less',
    async (sslmode) => {
      expect(await ask('trusting', `sslmode=${sslmode}`)).toEqual({ encryption: 'TLSv1.3' })
      const refused = {
        problem: expect.stringMatching(
          /^ROCKPOOL_SOURCE_SETTINGS TLS with localhost:\d+ failed: .*only certificates of public authorities/,
        ),
      }
      expect(await ask('stranger', `sslmode=${sslmode}`)).toEqual(refused)
    },
  )

  test('the name must be that of the certificate', async () => {
    expect(await ask('trusting', 'sslmode=require', { host: '127.0.0.1' })).toEqual({
      problem: expect.stringMatching(/^ROCKPOOL_SOURCE_SETTINGS TLS with 127.0.0.1/),
    })
  })

  test('nothing is encrypted when the URL says so, or by default on the loopback interface', async () => {
    expect(await ask('stranger', 'sslmode=disable')).toEqual({ encryption: 'plain' })
    expect(await ask('stranger', '')).toEqual({ encryption: 'plain' })
  })

  test('a walsender streams over TLS, with a pause in the middle', async () => {
    expect(await ask('trusting', 'sslmode=verify-full', { rows: 20_000 })).toEqual({
      encryption: 'TLSv1.3',
      seen: 20_000,
    })
  })

  test('without TLS on the server', async () => {
    const plain = await startPostgres({}, { version })
    const to = (query: string) => workers.get('stranger')?.ask({ url: `${plain.url}?${query}` })
    expect(await to('sslmode=prefer')).toEqual({
      problem: expect.stringMatching(/^ROCKPOOL_SETTINGS .*sslmode=prefer/),
    })
    expect(await to('sslmode=require')).toEqual({
      problem: expect.stringMatching(/^ROCKPOOL_SOURCE_SETTINGS .*offers no TLS/),
    })
    await plain.stop()
  })
})
