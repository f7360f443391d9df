import { openSync, type SyncDatabase } from '../client/src/node.ts'
import { startEdge } from '../test/edge.ts'
import { startPostgres } from '../test/postgres.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../test/support.ts'

// `npm run bench`: figures of this machine, with their spread. Nothing is asserted: machines are shared and noisy.

const LATENCIES = 200
const ROWS = 100_000
const ROUNDS = 3

const secret = newSecret()
const directory = await temporaryDirectory()
const postgres = await startPostgres({ fsync: 'on' })
const sql = postgres.sql()
await sql`create table items (id int primary key, owner text not null, name text not null)`
const syncConfig = `bucket_definitions:
  mine:
    parameters: SELECT request.user_id() AS user_id
    data:
      - SELECT id, owner, name FROM items WHERE owner = bucket.user_id
`
const edge = await startEdge({ databaseUrl: postgres.url, jwtSecret: secret, jwtAudience: AUDIENCE, syncConfig, directory: directory.path })
const schema = { tables: { items: { columns: { owner: 'text', name: 'text' } } } } as const
let files = 0
const open = (user: string): Promise<SyncDatabase> =>
  openSync({ url: edge.url, auth: () => token(secret, user), path: `${directory.path}/${files++}.db`, schema })
const count = async (db: SyncDatabase): Promise<number> => Number((await db.query<{ n: number }>('select count(*) as n from items'))[0]?.n)

try {
  const db = await open('alice')
  await db.waitForSync()
  const waiting = new Map<string, (at: number) => void>()
  db.live<{ name: string }>('select name from items order by cast(id as integer) desc limit 1', [], (rows) =>
    waiting.get(rows[0]?.name ?? '')?.(performance.now()),
  )
  const latencies: number[] = []
  for (let n = 0; n < LATENCIES; n++) {
    const seen = new Promise<number>((resolve) => waiting.set(`n${n}`, resolve))
    await sql`insert into items values (${n}, 'alice', ${`n${n}`})`
    const committed = performance.now()
    latencies.push(Math.max(0, (await seen) - committed))
  }
  report('commit → client', latencies, 'ms')
  await db.close()

  const streamed: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const user = `streamed${round}`
    const client = await open(user)
    await client.waitForSync()
    const from = performance.now()
    await sql`insert into items select n, ${user}, 'item ' || n from generate_series(${1_000_000 * (round + 1)}::int, ${1_000_000 * (round + 1) + ROWS - 1}::int) n`
    await until('the rows', async () => (await count(client)) === ROWS, 300)
    streamed.push(ROWS / ((performance.now() - from) / 1_000))
    await client.close()
  }
  report('streamed, Postgres → client', streamed, 'rows/s')

  const downloaded: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const from = performance.now()
    const client = await open(`streamed${round}`)
    await client.waitForSync()
    downloaded.push((await count(client)) / ((performance.now() - from) / 1_000))
    await client.close()
  }
  report('first download of a bucket', downloaded, 'rows/s')
} finally {
  await edge.dispose()
  await postgres.stop()
  await directory.remove()
}

function report(what: string, values: readonly number[], unit: string): void {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (q: number): string => (sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0).toFixed(unit === 'ms' ? 1 : 0)
  console.log(`${what.padEnd(30)} median ${at(0.5)} ${unit}   min ${at(0)}   p95 ${at(0.95)}   max ${at(1)}   (${values.length})`)
}
