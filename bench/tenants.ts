import postgres from 'postgres'
import { Follower, rowsOf } from '../test/support/follower.ts'
import { startPostgres } from '../test/support/postgres.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../test/support/support.ts'
import { TenantEdge } from '../test/support/tenant-edge.ts'
import { COUNTING, difference, type Counts } from './counts.ts'

// Tenants with databases of their own: how long a new one takes to the first row at a client, and what an idle one
// costs, counted. `node bench/tenants.ts`

const TENANTS = 8
const SYNC_CONFIG = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, title FROM items\n'
const POLL_SECONDS = 6
const POLLS = 10
const directory = await temporaryDirectory()
const source = await startPostgres()
const edge = await TenantEdge.start({
  directory: `${directory.path}/edge`,
  front: COUNTING,
  bindings: { IDLE_POLL_SECONDS: String(POLL_SECONDS), IDLE_POLL_MAX_SECONDS: String(POLL_SECONDS) },
})
const counts = async (): Promise<Counts> => (await fetch(`${edge.edge.url}/_counts`)).json() as Promise<Counts>
const seconds = (since: number): string => ((performance.now() - since) / 1_000).toFixed(2)

for (let n = 0; n < TENANTS; n++) {
  const name = `tenant-${n}`
  const database = `tenant_${n}`
  await source.sql().unsafe(`CREATE DATABASE ${database}`)
  const sql = postgres(source.urlOf({ database }), { max: 1, onnotice: () => {} })
  await sql.unsafe("CREATE TABLE items (id text PRIMARY KEY, title text); INSERT INTO items VALUES ('1', 'first')")
  await sql.end({ timeout: 1 })
  const secret = newSecret()
  const began = performance.now()
  await edge.create(name, {
    secrets: { DATABASE_URL: source.urlOf({ database }), JWT_SECRET: secret },
    settings: { SYNC_CONFIG, JWT_AUDIENCE: AUDIENCE },
  })
  const created = seconds(began)
  const client = new Follower({ url: edge.urlOf(name), token: () => token(secret, 'ann'), clientId: 'c' })
  await until('the first row', async () => rowsOf(client.buckets, '').length > 0)
  console.log(`${name}: created in ${created} s, first row at a client after ${seconds(began)} s`)
  await client.close()
}

// Relays forget their streams after half a minute, and each replicator polls by itself from then on.
await new Promise((resolve) => setTimeout(resolve, 60_000))
const before = await counts()
await new Promise((resolve) => setTimeout(resolve, POLLS * POLL_SECONDS * 1_000))
const counted = difference(await counts(), before)
const polls = counted['replicator alarms'] ?? 0
console.log(`${polls} polls of ${TENANTS} idle tenants`)
for (const [name, count] of Object.entries(counted).sort())
  if (count > 0) console.log(`  ${name}: ${(count / polls).toFixed(2)} a poll`)
await edge.edge.dispose()
await source.stop()
await directory.remove()
process.exit(0)
