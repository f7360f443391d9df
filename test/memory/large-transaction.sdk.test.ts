import { afterAll, beforeAll, expect, test } from 'vitest'
import { Follower, rowsOf } from '../follower.ts'
import { startPostgres, type TestPostgres } from '../postgres.ts'
import { statusOf } from '../status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support.ts'
import { Isolates, measured } from './isolates.ts'

// I8 from outside: isolates of 128 MB. `ROCKPOOL_MEMORY_ROWS=1000000 ROCKPOOL_MEMORY_BUCKETS=5000` for the size that is promised.

const ROWS = Number(process.env.ROCKPOOL_MEMORY_ROWS ?? 100_000)
const BUCKETS = Number(process.env.ROCKPOOL_MEMORY_BUCKETS ?? 1_000)
const LIMIT_MB = 128
const LONG = { timeout: 3_600_000 }
const secret = newSecret()
let postgres: TestPostgres
let isolates: Isolates
let client: Follower
let directory: Awaited<ReturnType<typeof temporaryDirectory>>

beforeAll(async () => {
  directory = await temporaryDirectory(true)
  postgres = await startPostgres()
  await postgres.sql()`create table items (id int primary key, team text not null, text text not null)`
  const syncConfig = `bucket_definitions:
  team:
    parameters: SELECT request.user_id() AS team
    data: ["SELECT id, text FROM items WHERE team = bucket.team"]
`
  isolates = await Isolates.start({
    ...{ directory: directory.path, heapMb: LIMIT_MB },
    bindings: { DATABASE_URL: postgres.url, JWT_SECRET: secret, JWT_AUDIENCE: AUDIENCE, SYNC_CONFIG: syncConfig },
    ...(process.env.ROCKPOOL_LOG ? { log: (line: string) => console.log(line) } : {}),
  })
  client = new Follower({ url: isolates.url, token: () => token(secret, 'team 1'), clientId: 'c' })
})

afterAll(async () => {
  await client?.close()
  await isolates?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

test(
  `I8: a transaction of ${ROWS} rows over ${BUCKETS} buckets, ended and recovered in its middle, in isolates of ${LIMIT_MB} MB`,
  LONG,
  async () => {
    const seen = async () => [await statusOf(isolates.url, secret).catch(String), client.state, isolates.peaks]
    await until('a live session', async () => (await statusOf(isolates.url, secret)).state === 'live' && client.checkpoints > 0, 300, seen)
    const inserted = postgres.sql()`
    insert into items select n, 'team ' || n % ${BUCKETS}::int, repeat('x', 200) from generate_series(1, ${ROWS}::int) n`
    await inserted
    await until('the middle', async () => (await statusOf(isolates.url, secret)).pendingBatches >= ROWS / 8_000 / 2, 1_200, seen)
    await isolates.kill()
    await until('all of it', async () => rowsOf(client.buckets, '[').length === ROWS / BUCKETS, 3_000, seen)
    expect(client.problems).toEqual([])
    await measured(isolates)
    const { peaks, deaths } = isolates
    console.log(`peaks in MB: ${JSON.stringify(peaks)}`)
    expect(deaths).toBe(0)
    for (const peak of Object.values(peaks)) expect(peak).toBeLessThan(LIMIT_MB)
  },
)
