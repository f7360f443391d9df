import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from 'miniflare'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeCertificates, type Certificates } from '../../../test/support/certificates.ts'
import { POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../../../test/support/postgres.ts'
import { temporaryDirectory } from '../../../test/support/support.ts'

const WORKER = fileURLToPath(new URL('../../../test/workerd/source.ts', import.meta.url))

describe.each(POSTGRES_VERSIONS)('TLS from workerd to Postgres %i', (version) => {
  let folder: Awaited<ReturnType<typeof temporaryDirectory>>
  let certificates: Certificates
  let server: TestPostgres
  /** One trusts what is in the system's store only, the other our authority as if it were a public one. */
  const workers = new Map<'stranger' | 'trusting', Miniflare>()

  beforeAll(async () => {
    folder = await temporaryDirectory()
    certificates = await makeCertificates()
    const files = { 'server.crt': certificates.certificate, 'server.key': certificates.key }
    server = await startPostgres({ ssl: 'on', ssl_cert_file: 'server.crt', ssl_key_file: 'server.key' }, { version, files })
    await server.sql()`CREATE TABLE t (id int PRIMARY KEY, x text)`
    const script = join(folder.path, 'worker.js')
    await build({
      entryPoints: [WORKER],
      outfile: script,
      bundle: true,
      format: 'esm',
      conditions: ['workerd'],
      mainFields: ['module', 'main'],
      external: ['node:*', 'cloudflare:*'],
      logLevel: 'error',
    })
    const authority = join(folder.path, 'ca.pem')
    await writeFile(authority, certificates.ca)
    for (const name of ['stranger', 'trusting'] as const) {
      await mkdir(join(folder.path, name))
      // workerd takes its trust store from here when it starts.
      if (name === 'trusting') process.env.SSL_CERT_FILE = authority
      const miniflare = new Miniflare(
        convertV4MiniflareOptions({
          name,
          log: new Log(LogLevel.NONE),
          // workerd prints every handshake that fails.
          handleStructuredLogs: () => {},
          modulesRoot: folder.path,
          modules: [{ type: 'ESModule', path: script, contents: await readFile(script, 'utf8') }],
          compatibilityDate: '2026-10-15',
          compatibilityFlags: ['nodejs_compat'],
        }),
      )
      await miniflare.ready
      delete process.env.SSL_CERT_FILE
      workers.set(name, miniflare)
    }
  })
  afterAll(async () => {
    for (const miniflare of workers.values()) await miniflare.dispose()
    await server?.stop()
    await folder?.remove()
  })

  async function ask(
    name: 'stranger' | 'trusting',
    query: string,
    more: { host?: string; ca?: string; rows?: number } = {},
  ): Promise<unknown> {
    const { host = 'localhost', ...rest } = more
    const url = `postgres://postgres:postgres@${host}:${server.port}/app?${query}`
    const ready = await workers.get(name)?.ready
    const response = await fetch(String(ready), { method: 'POST', body: JSON.stringify({ url, ...rest }) })
    return response.json()
  }

  test.each(['require', 'verify-ca', 'verify-full'])('sslmode=%s encrypts and verifies, never less', async (sslmode) => {
    expect(await ask('trusting', `sslmode=${sslmode}`)).toEqual({ encryption: 'TLSv1.3' })
    const refused = {
      problem: expect.stringMatching(/^ROCKPOOL_SOURCE_SETTINGS TLS with localhost:\d+ failed: .*only certificates of public authorities/),
    }
    expect(await ask('stranger', `sslmode=${sslmode}`)).toEqual(refused)
  })

  test('the name must be that of the certificate', async () => {
    expect(await ask('trusting', 'sslmode=require', { host: '127.0.0.1' })).toEqual({
      problem: expect.stringMatching(/^ROCKPOOL_SOURCE_SETTINGS TLS with 127.0.0.1/),
    })
  })

  test('nothing is encrypted when the URL says so, or says nothing on the loopback interface', async () => {
    expect(await ask('stranger', 'sslmode=disable')).toEqual({ encryption: 'plain' })
    expect(await ask('stranger', '')).toEqual({ encryption: 'plain' })
  })

  test('an authority of its own cannot be honoured, and is not passed over', async () => {
    expect(await ask('trusting', 'sslmode=verify-full', { ca: certificates.ca })).toEqual({
      problem: expect.stringMatching(/^ROCKPOOL_SETTINGS DATABASE_CA cannot be used on Cloudflare/),
    })
  })

  test('a walsender streams over TLS, with a pause in the middle', async () => {
    expect(await ask('trusting', 'sslmode=verify-full', { rows: 20_000 })).toEqual({ encryption: 'TLSv1.3', seen: 20_000 })
  })

  test('without TLS on the server', async () => {
    const plain = await startPostgres({}, { version })
    const ready = await workers.get('stranger')?.ready
    const to = async (query: string): Promise<unknown> => {
      const response = await fetch(String(ready), { method: 'POST', body: JSON.stringify({ url: `${plain.url}?${query}` }) })
      return response.json()
    }
    expect(await to('sslmode=prefer')).toEqual({ problem: expect.stringMatching(/^ROCKPOOL_SETTINGS .*sslmode=prefer/) })
    expect(await to('sslmode=require')).toEqual({ problem: expect.stringMatching(/^ROCKPOOL_SOURCE_SETTINGS .*offers no TLS/) })
    await plain.stop()
  })
})
