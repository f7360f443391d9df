import { checkConnection, connectSource, emitMarker, openReplication, prepareSource } from '../../sources/postgres/index.ts'
import { openSocket } from '../../sources/postgres/wire/socket.ts'

/** What a test asks of a Worker: to connect, or to follow the table `t` while it inserts rows. */
interface Wish {
  url: string
  ca?: string
  rows?: number
}

export default {
  async fetch(request: Request): Promise<Response> {
    const wish: Wish = await request.json()
    const { url, ca, rows = 0 } = wish
    try {
      const sql = connectSource(url, { socket: openSocket, ca })
      const walsender = connectSource(url, { socket: openSocket, ca, replication: true })
      try {
        await Promise.all([checkConnection(sql), checkConnection(walsender)])
        const [row] = await sql.unsafe<{ version: string | null }[]>(
          'SELECT version FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()',
        )
        const encryption = row?.version ?? 'plain'
        if (rows === 0) return Response.json({ encryption })
        const source = await prepareSource(sql, { slot: 'worker', tables: [{ schema: 'public', name: 't' }] })
        const all = Promise.withResolvers<void>()
        let seen = 0
        const options = { slot: 'worker', publication: source.publication, walSenderTimeoutMs: source.walSenderTimeoutMs }
        const session = await openReplication(walsender, options, {
          message: (message) => {
            if (message.type === 'insert') seen++
            if (seen === 1_000) {
              session.pause()
              setTimeout(() => session.resume(), 50)
            }
            if (message.type === 'message') all.resolve()
          },
          keepalive: () => {},
        })
        await sql.unsafe(`INSERT INTO public.t SELECT n, repeat('x', 300) FROM generate_series(1, ${rows}) n`)
        await emitMarker(sql, 'test', 'all')
        await Promise.race([all.promise, session.ended])
        await session.close()
        return Response.json({ encryption, seen })
      } finally {
        await Promise.all([sql.end({ timeout: 1 }), walsender.end({ timeout: 1 })])
      }
    } catch (error) {
      return Response.json({
        problem: error instanceof Error ? `${'code' in error ? String(error.code) : error.name} ${error.message}` : String(error),
      })
    }
  },
}
