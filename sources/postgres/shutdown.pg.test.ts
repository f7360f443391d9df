import { expect, test } from 'vitest'
import { POSTGRES_VERSIONS, startPostgres } from '../../test/support/postgres.ts'
import { connectSource, emitMarker, openReplication, prepareSource } from './index.ts'

test.each(POSTGRES_VERSIONS)(
  'Postgres %i shuts down while a session lives that has not confirmed everything',
  async (version) => {
    const server = await startPostgres({}, { version })
    await server.sql()`CREATE TABLE t (id int PRIMARY KEY)`
    const sql = connectSource(server.url)
    const source = await prepareSource(sql, { slot: 's', tables: [{ schema: 'public', name: 't' }] })
    const marked = Promise.withResolvers<void>()
    const session = await openReplication(
      connectSource(server.url, { replication: true }),
      { slot: 's', publication: source.publication, walSenderTimeoutMs: source.walSenderTimeoutMs },
      {
        message: (message) => {
          // The START of the commit record, so that this transaction comes again.
          if (message.type === 'commit') session.acknowledge(message.commitLsn)
          if (message.type === 'message') marked.resolve()
        },
        keepalive: () => {},
      },
    )
    await server.sql()`INSERT INTO t VALUES (1)`
    await emitMarker(sql, 'm', 'x')
    await marked.promise
    await sql.end()
    const ended = expect(session.ended).rejects.toThrow(/shutting down/)
    await server.stopServer()
    await ended
    await session.close()
    await server.stop()
  },
)
