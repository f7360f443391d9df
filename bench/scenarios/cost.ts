import type { Clients } from '../clients.ts'
import { COUNTING, difference, rowsWritten, takeCounts, type Counts } from '../counts.ts'
import { bill, storageDollars } from '../prices.ts'
import { check, plural, size, type Bench, type Scenario } from '../scenario.ts'
import { bucketLogs, storedBytes } from '../storage.ts'
import { insertItems, insertReader, withWorld, type World } from '../world.ts'

/** Compaction follows a second after there is enough to do, which is as often as possible. */
const BINDINGS = { COMPACTION_SECONDS: '1' }
const MILLION = 1_000_000
const UPDATE = 'update items set title = title || 1 where id = '

/** Counts, in front of the deployed script, rows written and read, alarms, calls and messages of all objects. */
export const cost: Scenario = {
  name: 'cost',
  about: 'what is billed for a million changes, for a first copy and for a first sync: counted, compaction included',
  standard: true,
  async run(bench) {
    await copied(bench)
    const changes = size(bench, 3_000, 50)
    await oneAtATime(bench, `${UPDATE}(select 1 + floor(random() * 1000)::int)`, 'updates', changes)
    if (!bench.quick)
      await oneAtATime(
        bench,
        insertItems('(select 1 + max(id) from items)', '(select 1 + max(id) from items)'),
        'inserts',
        changes,
      )
    for (const ms of size(bench, [0, 50], [50])) await atARate(bench, ms, size(bench, 3_000, 100))
    for (const buckets of size(bench, [1, 100], [10])) await inTransactions(bench, size(bench, 500, 5), buckets)
  },
}

/** Reports counts for a million changes, in the terms of the bill. */
function report(bench: Bench, what: string, counts: Counts, units: number, unit = 'changes'): void {
  const { rowsWritten, rowsRead, requests, workerRequests, dollars } = bill(counts, MILLION / units)
  bench.counted({
    what: `${what}: per million ${unit}`,
    counts: {
      'rows written': rowsWritten,
      'rows read': rowsRead,
      requests,
      'worker requests': workerRequests,
      dollars,
    },
  })
  bench.counted({ what: `${what}: as counted for ${plural(units, unit.slice(0, -1))}`, counts })
}

/** Returns the counts of the work, including the compactions that it caused. */
async function counting(bench: Bench, world: World, work: () => Promise<void>): Promise<Counts> {
  const before = await takeCounts(world)
  await work()
  await world.settled()
  // Waits until no alarm writes any more.
  for (let last = -1; ;) {
    const counts = await takeCounts(world)
    const written = rowsWritten(counts)
    if (written === last) return difference(counts, before)
    last = written
    await new Promise((resolve) => setTimeout(resolve, size(bench, 2_500, 300)))
  }
}

const group = 'reader'

/** One client is connected, and checks what it is sent. */
async function follow(world: World): Promise<Clients> {
  const clients = world.clients()
  const list = [{ token: await world.token('reader'), clientId: 'reader' }]
  await clients.call('open', { group, url: world.url, transport: 'native', clients: list, together: 1, verify: true })
  return clients
}

async function oneAtATime(bench: Bench, statement: string, name: string, times: number): Promise<void> {
  await withWorld(
    bench,
    { prepare: [insertItems(1, 1_000), insertReader('reader', 0)], bindings: BINDINGS, front: COUNTING },
    async (world) => {
      await world.start()
      await world.serving()
      const clients = await follow(world)
      const counts = await counting(bench, world, async () => {
        await clients.call('latencies', { group, databaseUrl: world.databaseUrl, statement, times })
      })
      check(
        (counts['replicator rows written'] ?? 0) >= 3 * times,
        () => `${JSON.stringify(counts)} cannot be ${times} changes`,
      )
      report(bench, `${name} of one row, one at a time, one bucket`, counts, times)
    },
  )
}

/** Postgres commits a change every 10 ms, whatever becomes of it. */
async function atARate(bench: Bench, windowMs: number, changes: number): Promise<void> {
  const bindings = { ...BINDINGS, BATCH_WINDOW_MS: String(windowMs) }
  const prepare = [insertItems(1, 1_000), insertReader('reader', 0)]
  await withWorld(bench, { prepare, bindings, front: COUNTING }, async (world) => {
    await world.start()
    await world.serving()
    const clients = await follow(world)
    const { ops } = await clients.call('totals', { group })
    const counts = await counting(bench, world, async () => {
      await world.sql.unsafe(`do $do$ declare start timestamptz := clock_timestamp(); begin for t in 1..${changes} loop
        ${UPDATE}1 + t % 1000; commit;
        perform pg_sleep(greatest(0, extract(epoch from start + t * interval '10 ms' - clock_timestamp())));
        end loop; end $do$`)
      await clients.call('reach', { group, ops: ops + changes })
    })
    const window = windowMs === 0 ? 'no window' : `BATCH_WINDOW_MS=${windowMs}`
    report(bench, `updates of one row, 100 a second, one bucket, ${window}`, counts, changes)
  })
}

async function inTransactions(bench: Bench, transactions: number, buckets: number): Promise<void> {
  const rows = 1_000
  const prepare = [insertItems(1, rows, 1, buckets), insertReader('reader', 1, buckets)]
  await withWorld(bench, { prepare, bindings: BINDINGS, front: COUNTING }, async (world) => {
    await world.start()
    await world.serving()
    const clients = await follow(world)
    const statement = `${UPDATE.replace('id = ', '')} id between 1 and 100`
    const { ops } = await clients.call('totals', { group })
    const counts = await counting(bench, world, async () => {
      for (let n = 0; n < transactions; n++) {
        await world.sql.unsafe(statement)
        await clients.call('reach', { group, ops: ops + (n + 1) * 100 })
      }
    })
    report(
      bench,
      `updates of 100 rows a transaction, one at a time, ${plural(buckets, 'bucket')}`,
      counts,
      transactions * 100,
    )
  })
}

/** Measures a first copy, its storage, and a first sync of it. */
async function copied(bench: Bench): Promise<void> {
  const rows = size(bench, 100_000, 2_000)
  await withWorld(
    bench,
    { prepare: [insertItems(1, rows, 1, 100), insertReader('reader', 1, 100)], front: COUNTING },
    async (world) => {
      await world.start()
      await world.serving()
      report(bench, 'initial replication into 100 buckets', await takeCounts(world), rows, 'rows')
      const clients = world.clients()
      const list = [{ token: await world.token('reader'), clientId: 'reader' }]
      const before = await takeCounts(world)
      const ask = { group: 'reader', url: world.url, transport: 'native' as const, clients: list, together: 1 }
      const { totals } = await clients.call('open', ask)
      check(totals.ops === rows, () => `${rows} ops were expected, ${totals.ops} came`)
      report(bench, 'first sync of 100 buckets', difference(await takeCounts(world), before), rows, 'ops')
      await world.stop()
      const [replicator, buckets] = [storedBytes(world.directory, 'Replicator'), storedBytes(world.directory, 'Bucket')]
      const ops = bucketLogs(world.directory).reduce((total, log) => total + log.bytes, 0)
      const factor = MILLION / rows
      bench.counted({
        what: 'stored bytes per million rows in 100 buckets',
        counts: {
          replicator: replicator * factor,
          buckets: buckets * factor,
          'of which ops': ops * factor,
          'dollars a month': storageDollars((replicator + buckets) * factor),
        },
      })
    },
  )
}
