import { expect, test } from 'vitest'
import { alternatives, dns, server } from '../../sources/postgres/tls/chain/test-authority.ts'
import { DocsClient } from '../support/docs-client.ts'
import { startPostgres } from '../support/postgres.ts'
import { privateAuthority } from '../support/private-authority.ts'
import { startRenewingProxy } from '../tls/renewing-proxy.ts'

// RFC 8446 section 4.6.3: a server may change its keys at any record, and want the same of us.

const ROWS = 20_000

test('a server that changes its keys every 100 records, in the middle of a copy and of a transaction: rows are equal, in one session', async () => {
  const postgres = await startPostgres({}, { overTls: null })
  const authority = privateAuthority()
  const made = server({ cn: ['localhost'], by: authority.root, extensions: [alternatives([dns('localhost')])] })
  const proxy = await startRenewingProxy(postgres.port, made, 100)
  const docs = new DocsClient(postgres)
  const since = (before: { server: number; client: number }) => {
    const now = proxy.renewed()
    return { server: now.server - before.server, client: now.client - before.client }
  }
  try {
    await docs.prepare(ROWS)
    await docs.start({
      // Whoever ends TLS before Postgres has another certificate than Postgres.
      databaseUrl: `postgres://postgres:postgres@localhost:${proxy.port}/app?sslmode=verify-full&channel_binding=disable`,
      bindings: { DATABASE_CA: authority.ca },
    })
    await docs.connect()
    await docs.exact()
    const copied = proxy.renewed()
    expect(copied.server).toBeGreaterThan(10)
    expect(copied.client).toBeGreaterThan(2)

    const { session } = await docs.until('a live tenant', ({ state }) => state === 'live')
    await postgres.sql()`UPDATE docs SET n = n + 1`
    await docs.exact()
    const streamed = since(copied)
    expect(streamed.server).toBeGreaterThan(20)
    expect(streamed.client).toBeGreaterThan(2)
    for (let i = 0; i < 50; i++) await postgres.sql()`UPDATE docs SET n = n + 1 WHERE id <= 10`
    await docs.exact()
    const status = await docs.status()
    expect(status.session.count).toBe(session.count)
    expect(status.diagnostics.counts).not.toHaveProperty('ROCKPOOL_SOURCE_UNREACHABLE')
  } finally {
    await docs.dispose()
    await proxy.close()
    await postgres.stop()
  }
})
