import { openSync, type SyncDatabase } from '../client/src/node.ts'
import type { ReplicatorStatus } from '../protocol/messages/status.ts'
import { startEdge } from '../test/support/edge.ts'
import { startPostgres } from '../test/support/postgres.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../test/support/support.ts'

// `npm run bench:live -- MINUTES`: one client writes and another only reads, for so long that sessions with Postgres
// are renewed meanwhile. It counts rows that are lost, repeated or late.

const MINUTES = Number(process.argv[2] ?? 35)
const EVERY_MS = 500

const secret = newSecret()
const directory = await temporaryDirectory()
const postgres = await startPostgres({ fsync: 'on' })
const sql = postgres.sql()
await sql`create table items (id text primary key, owner text not null, n int not null)`
const syncConfig = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, owner, n FROM items\n'
const edge = await startEdge({
  databaseUrl: postgres.url,
  jwtSecret: secret,
  jwtAudience: AUDIENCE,
  syncConfig,
  directory: directory.path,
})
const committed = new Map<string, number>()

const open = (user: string): Promise<SyncDatabase> =>
  openSync({
    url: edge.url,
    auth: () => token(secret, user),
    path: `${directory.path}/${user}.db`,
    schema: { tables: { items: { columns: { owner: 'text', n: 'integer' } } } },
    async upload({ ops }) {
      for (const op of ops) {
        await sql`insert into items values (${op.id}, ${user}, ${Number(op.data?.n)}) on conflict do nothing`
        committed.set(op.id, performance.now())
      }
      return { result: 'accepted' }
    },
  })

async function status(): Promise<ReplicatorStatus> {
  const headers = { authorization: `Token ${await token(secret, 'ops', 60, { operator: true })}` }
  const body: { data: ReplicatorStatus } = await (await fetch(`${edge.url}/status`, { headers })).json()
  return body.data
}

try {
  const writer = await open('writer')
  const idle = await open('idle')
  await writer.waitForSync()
  await idle.waitForSync()
  const late: number[] = []
  const seen = new Set<string>()
  let mismatches = 0
  for (const db of [writer, idle]) db.on('mismatch', () => mismatches++)
  idle.live<{ id: string }>('select id from items order by n desc limit 20', [], (rows) => {
    const now = performance.now()
    for (const { id } of rows) {
      if (seen.has(id)) continue
      seen.add(id)
      late.push(Math.max(0, now - (committed.get(id) ?? now)))
    }
  })
  const end = performance.now() + MINUTES * 60_000
  let n = 0
  for (let minute = 0; performance.now() < end;) {
    const id = crypto.randomUUID()
    await writer.write(
      async (tx) => void (await tx.execute('insert into items (id, owner, n) values (?, ?, ?)', [id, 'writer', n])),
    )
    n++
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS))
    if (Math.floor((end - performance.now()) / 60_000) === minute) continue
    minute = Math.floor((end - performance.now()) / 60_000)
    const { session, state } = await status()
    console.log(
      `${minute} minutes to go: ${n} written, ${seen.size} seen, latest ${Math.max(...late).toFixed(0)} ms, state ${state}, ${session.count} sessions`,
    )
  }
  await until('all to be seen', async () => seen.size === n, 60)
  const held = (await idle.query<{ n: number }>('select count(*) as n from items'))[0]?.n
  const [{ stored }] = await sql<[{ stored: number }]>`select count(*)::int as stored from items`
  const { session, written, checkpoint } = await status()
  const sorted = [...late].sort((a, b) => a - b)
  const at = (q: number) => (sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0).toFixed(1)
  console.log(
    `${MINUTES} minutes, ${n} writes: ${stored} in Postgres, ${held} at the idle client, ${mismatches} mismatches`,
  )
  console.log(`commit → idle client: median ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`)
  console.log(`sessions with Postgres ${session.count}; checkpoint ${checkpoint}; ${JSON.stringify(written)}`)
  await writer.close()
  await idle.close()
} finally {
  await edge.dispose()
  await postgres.stop()
  await directory.remove()
}
