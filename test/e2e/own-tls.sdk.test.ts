import { expect, test } from 'vitest'
import { utc } from '../../sources/postgres/tls/chain/test-authority.ts'
import { DocsClient } from '../support/docs-client.ts'
import { POSTGRES_VERSIONS, startPostgres } from '../support/postgres.ts'
import { privateAuthority, SSL, type ServerFiles } from '../support/private-authority.ts'

// A database that lets replication in over TLS alone, with a certificate of its host's own authority. In the newest
// version and in the oldest that is here.

const authority = privateAuthority()
const PASSWORD = 'over-tls-only'

/** The newest TLS with the newest version; 1.2, which is all that RDS 15 speaks, with the oldest. */
const WAYS = [
  [POSTGRES_VERSIONS[0], '1.3'],
  [POSTGRES_VERSIONS.at(-1), '1.2'],
] as const

test.each(WAYS)(
  'Postgres %i, TLS %s: what is behind a private authority is synced, through kills, restarts and renewals, and nobody else is',
  async (version = 18, tls) => {
    const hba = 'host all postgres 127.0.0.1/32 scram-sha-256\nhostssl all pool all scram-sha-256\n'
    const postgres = await startPostgres(
      { ...SSL, ssl_max_protocol_version: `TLSv${tls}` },
      { version, files: { ...authority.issue(), 'pg_hba.conf': hba } },
    )
    const docs = new DocsClient(postgres)
    const present = async (files: ServerFiles) => {
      for (const [name, content] of Object.entries(files)) await postgres.write(name, content)
      await postgres.restart()
    }
    const sql = () => postgres.sql()
    const sessions = async () =>
      (
        await sql()`SELECT s.ssl, s.version FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) WHERE usename = 'pool'`
      ).map((row) => ({
        ...row,
      }))
    const refused = (message: RegExp) =>
      docs.until(
        'the refusal',
        ({ state, error }) =>
          state === 'refused' && error?.code === 'ROCKPOOL_SOURCE_TLS' && message.test(error.message),
      )
    try {
      await sql().unsafe(`CREATE ROLE pool LOGIN SUPERUSER REPLICATION PASSWORD '${PASSWORD}'`)
      await docs.prepare(20_000)
      const options = {
        databaseUrl: `postgres://pool:${PASSWORD}@localhost:${postgres.port}/app?sslmode=require`,
        bindings: { DATABASE_CA: authority.ca, IDLE_POLL_SECONDS: '1', IDLE_POLL_MAX_SECONDS: '1' },
      }
      await docs.start(options)
      await docs.connect()
      await docs.exact()
      expect(await sessions()).toEqual(expect.arrayContaining([{ ssl: true, version: `TLSv${tls}` }]))
      expect((await sessions()).every(({ ssl }) => ssl === true)).toBe(true)

      // A large transaction, and the runtime killed while it passes.
      await sql()`UPDATE docs SET n = n + 1`
      await docs.edge.kill9()
      await docs.exact()
      await postgres.kill9()
      await postgres.startServer()
      await sql()`INSERT INTO docs (id) VALUES (-1)`
      await docs.exact()

      await present(authority.issue())
      await sql()`INSERT INTO docs (id) VALUES (-2)`
      await docs.exact()

      await present(privateAuthority('Stranger').issue())
      await refused(/not one of the authorities in DATABASE_CA/)
      await present(authority.issue({ to: utc('210101000000Z') }))
      await refused(/expired on 2021-01-01/)
      await postgres.stopServer()
      await postgres.startServer({ ssl: 'off' })
      await refused(/offers no TLS, and DATABASE_CA requires it/)
      expect(await sessions()).toEqual([])
      await sql()`INSERT INTO docs (id) VALUES (-3)`

      await postgres.stopServer()
      await postgres.startServer({ ssl: 'on' })
      await present(authority.issue())
      await docs.exact()
    } finally {
      await docs.dispose()
      await postgres.stop()
    }
  },
)
