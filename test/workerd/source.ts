import { connect } from 'cloudflare:sockets'
import { WorkerEntrypoint } from 'cloudflare:workers'
import {
  checkConnection,
  connectSource,
  emitMarker,
  openReplication,
  parseSourceUrl,
  prepareSource,
  trustOf,
} from '../../sources/postgres/index.ts'
import { socketOf } from '../../sources/postgres/wire/socket.ts'

/** What a test asks of a Worker: to connect, or to follow the table `t` while it inserts rows. */
interface Wish {
  url: string
  ca?: string
  rows?: number
  /** Whether the answer says how long the rows took, in ms from their commit on. */
  timed?: boolean
  /** To open a socket alone: to read nothing for so long, in ms, and then so many bytes. */
  pausedMs?: number
  bytes?: number
  /**
   * To connect by a binding that leads to this port of this machine, whatever the URL says; null for a binding that
   * connects to nothing.
   */
  bound?: number | null
}

/** Stands for a VPC network: knows the way to a database of another name. */
export class Network extends WorkerEntrypoint<unknown, { port: number }> {
  override async connect(socket: Socket): Promise<void> {
    const onward = connect({ hostname: 'localhost', port: this.ctx.props.port })
    await Promise.allSettled([socket.readable.pipeTo(onward.writable), onward.readable.pipeTo(socket.writable)])
  }
}

interface Exports {
  Network(options: { props: { port: number } }): unknown
}

const bindingOf = ({ bound }: Wish, ctx: ExecutionContext): unknown =>
  bound === undefined
    ? undefined
    : bound === null
      ? {}
      : (ctx.exports as unknown as Exports).Network({ props: { port: bound } })

export default {
  async fetch(request: Request, _: unknown, ctx: ExecutionContext): Promise<Response> {
    const wish: Wish = await request.json()
    const { url, ca, rows = 0, timed = false } = wish
    try {
      if (wish.bytes !== undefined) return Response.json(await slowly(wish))
      const socket = socketOf({ SOURCE_BINDING: bindingOf(wish, ctx) })
      const sql = connectSource(url, { socket, ca })
      const walsender = connectSource(url, { socket, ca, replication: true })
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
        const options = {
          slot: 'worker',
          publication: source.publication,
          walSenderTimeoutMs: source.walSenderTimeoutMs,
        }
        const caller = await openReplication(walsender, options, {
          message: (message) => {
            if (message.type === 'insert') seen++
            if (seen === 1_000 && !timed) {
              caller.pause()
              setTimeout(() => caller.resume(), 50)
            }
            if (message.type === 'message') all.resolve()
          },
          keepalive: () => {},
        })
        await sql.unsafe(`INSERT INTO public.t SELECT n, repeat('x', 300) FROM generate_series(1, ${rows}) n`)
        const committed = Date.now()
        await emitMarker(sql, 'test', 'all')
        await Promise.race([all.promise, caller.ended])
        const ms = Date.now() - committed
        await caller.close()
        return Response.json(timed ? { encryption, seen, ms } : { encryption, seen })
      } finally {
        await Promise.all([sql.end({ timeout: 1 }), walsender.end({ timeout: 1 })])
      }
    } catch (error) {
      return Response.json({
        problem:
          error instanceof Error
            ? `${'code' in error ? String(error.code) : error.name} ${error.message}`
            : String(error),
      })
    }
  },
}

async function slowly({ url, ca, pausedMs = 0, bytes = 0 }: Wish): Promise<{ bytes: number; longest: number }> {
  const source = parseSourceUrl(url)
  const [address] = source.hosts
  const [trust] = trustOf(source, ca)
  if (!address || !trust) throw new Error('no host')
  const socket = await socketOf({})(address, { sslmode: source.sslmode, trust, signal: new AbortController().signal })
  socket.pause()
  await new Promise((resolve) => setTimeout(resolve, pausedMs))
  let seen = 0
  let longest = 0
  await new Promise<void>((resolve, reject) => {
    socket.on('error', reject)
    socket.on('close', resolve)
    socket.on('data', (chunk: Uint8Array) => {
      seen += chunk.length
      longest = Math.max(longest, chunk.length)
      if (seen >= bytes) resolve()
    })
    socket.resume()
  })
  socket.destroy()
  return { bytes: seen, longest }
}
