import { now } from '../client/clock.ts'
import { check, plural, size, type Bench, type Scenario } from '../scenario.ts'
import { insertItems, insertReader, withWorld } from '../world.ts'

/** From the start of the edge over a full database to the first checkpoint that a client receives. */
export const copy: Scenario = {
  name: 'copy',
  about: 'initial replication of existing rows, until the first checkpoint',
  standard: true,
  async run(bench) {
    for (const rows of size(bench, [100_000, 1_000_000], [2_000])) {
      for (const buckets of [1, 100]) await copied(bench, rows, buckets)
    }
  },
}

async function copied(bench: Bench, rows: number, buckets: number): Promise<void> {
  const rates: number[] = []
  const computed: number[] = []
  const rounds = rows > 500_000 ? 1 : bench.rounds
  for (let round = 0; round < rounds; round++) {
    const prepare = [insertItems(1, rows, 1, buckets), insertReader('reader', 1, buckets)]
    await withWorld(bench, { prepare }, async (world) => {
      const clients = world.clients()
      const token = await world.token('reader')
      await world.start()
      const before = world.processorSeconds()
      const from = now()
      const ask = {
        group: 'reader',
        url: world.url,
        transport: 'ndjson' as const,
        clients: [{ token, clientId: 'reader' }],
        together: 1,
      }
      const { announced, totals } = await clients.call('open', { ...ask, verify: bench.quick || round === 0 })
      rates.push(rows / ((announced - from) / 1_000))
      computed.push(((world.processorSeconds() - before) * 1e6) / rows)
      check(
        totals.ops === rows && totals.announced === rows,
        () => `${rows} rows were copied, ${JSON.stringify(totals)} came`,
      )
      check(totals.buckets === buckets, () => `${buckets} buckets were expected, not ${totals.buckets}`)
    })
  }
  const aim = rows === 100_000 ? { aim: '≥ 50,000' } : {}
  bench.measured({
    what: `${plural(rows, 'row')} into ${plural(buckets, 'bucket')}`,
    unit: 'rows/s',
    values: rates,
    ...aim,
  })
  bench.measured({
    what: `${plural(rows, 'row')} into ${plural(buckets, 'bucket')}: CPU of workerd for a row`,
    unit: 'µs',
    values: computed,
  })
}
