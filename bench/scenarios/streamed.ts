import { now } from '../client/clock.ts'
import type { Clients } from '../clients.ts'
import { check, plural, size, type Bench, type Scenario } from '../scenario.ts'
import { insertItems, insertReader, withWorld, type World } from '../world.ts'

/** Transactions as fast as Postgres commits them, until a client with all buckets is complete. */
export const streamed: Scenario = {
  name: 'streamed',
  about:
    'throughput: 500 transactions of 100 rows into 1, 100 and 1,000 buckets, and 50,000 of one row, until a client has them',
  standard: true,
  async run(bench) {
    for (const buckets of size(bench, [1, 100, 1_000], [1, 10])) {
      await runs(bench, { transactions: size(bench, 500, 5), rows: 100, buckets, asynchronous: false })
    }
    for (const buckets of size(bench, [1, 100], [1])) {
      await runs(bench, { transactions: size(bench, 50_000, 100), rows: 1, buckets, asynchronous: true })
    }
  },
}

interface Load {
  transactions: number
  rows: number
  buckets: number
  /** Whether Postgres answers COMMIT before it is on disk, so that the disk is not measured. */
  asynchronous: boolean
}

async function runs(bench: Bench, load: Load): Promise<void> {
  const rates: number[] = []
  const tails: number[] = []
  const computed: number[] = []
  await withWorld(bench, { prepare: [insertReader('reader', 1, load.buckets)] }, async (world) => {
    await world.start()
    await world.serving()
    const clients = world.clients()
    const list = [{ token: await world.token('reader'), clientId: 'reader' }]
    await clients.call('open', {
      group: 'reader',
      url: world.url,
      transport: 'ndjson',
      clients: list,
      together: 1,
      verify: bench.quick,
    })
    // The first round creates and wakes the buckets.
    for (let round = 0; round <= bench.rounds; round++) {
      const { seconds, tail, cpu } = await once(world, clients, load, round)
      if (round === 0 && !bench.quick) continue
      rates.push((load.transactions * load.rows) / seconds)
      tails.push(tail)
      computed.push(cpu)
    }
  })
  const what = `${plural(load.transactions, 'transaction')} × ${plural(load.rows, 'row')} into ${plural(load.buckets, 'bucket')}`
  const aim = load.rows === 100 && load.buckets <= 100 ? { aim: '≥ 32,000' } : {}
  bench.measured({
    what,
    unit: 'rows/s',
    values: rates,
    ...aim,
    ...(load.asynchronous ? { note: 'synchronous_commit = off' } : {}),
  })
  bench.measured({ what: `${what}: after the last COMMIT`, unit: 'ms', values: tails })
  bench.measured({ what: `${what}: CPU of workerd for a row`, unit: 'µs', values: computed })
}

async function once(
  world: World,
  clients: Clients,
  { transactions, rows, buckets, asynchronous }: Load,
  round: number,
) {
  const first = round * transactions * rows + 1
  const { ops } = await clients.call('totals', { group: 'reader' })
  const before = world.processorSeconds()
  const from = now()
  const commit = asynchronous ? `SET LOCAL synchronous_commit = off; ` : ''
  await world.sql.unsafe(`DO $do$ BEGIN
    FOR t IN 0..${transactions - 1} LOOP
      ${commit}${insertItems(`${first} + t * ${rows}`, `${first} + (t + 1) * ${rows} - 1`, 1, buckets)};
      COMMIT;
    END LOOP; END $do$`)
  const committed = now()
  const { completed } = await clients.call('reach', { group: 'reader', ops: ops + transactions * rows })
  const totals = await clients.call('totals', { group: 'reader' })
  check(
    totals.ops === ops + transactions * rows,
    () => `${transactions * rows} rows were inserted, ${totals.ops - ops} ops came`,
  )
  const end = Math.max(...completed)
  const cpu = ((world.processorSeconds() - before) * 1e6) / (transactions * rows)
  return { seconds: (end - from) / 1_000, tail: Math.max(0, end - committed), cpu }
}
