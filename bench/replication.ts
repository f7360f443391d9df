import { readFileSync } from 'node:fs'
import { startEdge } from '../test/edge.ts'
import { Follower, rowsOf } from '../test/follower.ts'
import { startPostgres } from '../test/postgres.ts'
import { requestWriteCheckpoint, statusOf } from '../test/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../test/support.ts'

// `npm run bench:replication`: figures of replication on this machine. Nothing is asserted: machines are shared and noisy. Smaller with
// `ROCKPOOL_ROWS=10000 ROCKPOOL_LARGE=20000 ROCKPOOL_LATENCIES=50`.

const ROWS = Number(process.env.ROCKPOOL_ROWS ?? 200_000)
const LARGE = Number(process.env.ROCKPOOL_LARGE ?? 1_000_000)
const LATENCIES = Number(process.env.ROCKPOOL_LATENCIES ?? 500)
const BUCKETS = [1, 100, 1_000]
const ROUNDS = 3
/** Rows of a transaction. */
const TRANSACTION = 100

const secret = newSecret()
// Objects on a disk that is shared measure the disk.
const directory = await temporaryDirectory(true)
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
let waiting: { id: number; seen: () => void } | null = null
const client = new Follower({
  url: edge.url,
  token: () => token(secret, 'latency'),
  clientId: 'bench',
  at: (_checkpoint, buckets) => {
    if (waiting && rowsOf(buckets, '["latency"]').at(-1)?.id === waiting.id) waiting.seen()
  },
})

try {
  await until('the first copy', async () => client.checkpoints > 0)
  await latency()
  for (const buckets of BUCKETS) await streamed(buckets)
  await large()
} finally {
  await client.close()
  await edge.dispose()
  await postgres.stop()
  await directory.remove()
}

/** From the answer of COMMIT until a client has the checkpoint: stored, appended to the bucket, committed, told. */
async function latency(): Promise<void> {
  const latencies: number[] = []
  for (let n = 0; n < LATENCIES; n++) {
    const id = 1_000_000_000 + n
    const seen = new Promise<number>((resolve) => (waiting = { id, seen: () => resolve(performance.now()) }))
    await sql`insert into items values (${id}, 'latency', 'x')`
    const committed = performance.now()
    latencies.push(Math.max(0, (await seen) - committed))
  }
  report('commit → client', latencies, 'ms')
}

/** Resolves when everything committed so far is in its buckets and told. */
async function arrived(): Promise<void> {
  const write = await requestWriteCheckpoint(edge.url, await token(secret, 'latency'), 'bench')
  while (client.writeCheckpoint < write) await new Promise((resolve) => setTimeout(resolve, 2))
}

async function streamed(buckets: number): Promise<void> {
  const rates: number[] = []
  // The first round wakes and makes the buckets.
  for (let round = 0; round <= ROUNDS; round++) {
    await sql`truncate items`
    await arrived()
    const from = performance.now()
    await sql.unsafe(`DO $do$ BEGIN
      FOR t IN 0..${Math.ceil(ROWS / TRANSACTION) - 1} LOOP
        INSERT INTO items SELECT i, 'user' || i % ${buckets}, 'item ' || i FROM generate_series(t * ${TRANSACTION} + 1, (t + 1) * ${TRANSACTION}) i;
        COMMIT;
      END LOOP; END $do$`)
    await arrived()
    if (round > 0) rates.push(ROWS / ((performance.now() - from) / 1_000))
  }
  report(`streamed into ${buckets} bucket${buckets > 1 ? 's' : ''}`, rates, 'rows/s')
}

/** One transaction, and the memory of the process in which all objects are. */
async function large(): Promise<void> {
  await sql`truncate items`
  await arrived()
  const resident = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${edge.pid()}/status`, 'utf8'))?.[1] ?? 0) / 1_024
  const before = resident()
  let peak = before
  const sampling = setInterval(() => (peak = Math.max(peak, resident())), 50)
  const from = performance.now()
  await sql`insert into items select i, 'large', 'item ' || i from generate_series(1, ${LARGE}::int) i`
  const committed = performance.now()
  await arrived()
  const seconds = (performance.now() - from) / 1_000
  clearInterval(sampling)
  const { held, written } = await statusOf(edge.url, secret)
  console.log(
    `${LARGE} rows in one transaction: ${seconds.toFixed(1)} s, of which Postgres ${((committed - from) / 1_000).toFixed(1)} s; workerd ${before.toFixed(0)} → at most ${peak.toFixed(0)} MB`,
  )
  console.log(
    `held at most: ${held.peakChanges} changes, ${(held.peakSending / 1_048_576).toFixed(1)} M characters of ops; rows written in all: ${written.rows} for ${written.changes} changes`,
  )
}

function report(what: string, values: readonly number[], unit: string): void {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (q: number): string => (sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0).toFixed(unit === 'ms' ? 1 : 0)
  console.log(`${what.padEnd(28)} p50 ${at(0.5)} ${unit}   min ${at(0)}   p99 ${at(0.99)}   max ${at(1)}   (${values.length})`)
}
