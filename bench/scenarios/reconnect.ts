import { check, plural, size, type Scenario } from '../scenario.ts'
import { crowd, insertCrowd, insertItems, withWorld } from '../world.ts'

const BUCKETS = 30

export const reconnect: Scenario = {
  name: 'reconnect',
  about: '1,000 clients with 30 buckets lose their connections and resume at once, until the last one is complete',
  standard: true,
  async run(bench) {
    const count = size(bench, 1_000, 30)
    const prepare = [insertItems(1, 3_000, 1, BUCKETS), insertCrowd(count, 1, BUCKETS)]
    await withWorld(bench, { prepare }, async (world) => {
      await world.start()
      await world.serving()
      const clients = world.clients()
      const group = 'crowd'
      const list = await crowd(world, count)
      const first = await clients.call('open', {
        group,
        url: world.url,
        transport: 'native',
        clients: list,
        together: 50,
      })
      check(first.totals.ops === 3_000 * count, () => `each client has 3,000 ops, together ${first.totals.ops} came`)
      const last: number[] = []
      const each: number[] = []
      for (let round = 0; round < bench.rounds; round++) {
        const { started, completed, totals } = await clients.call('resume', { group })
        check(totals.ops === 3_000 * count, () => 'a client that resumes was sent what it has')
        last.push(Math.max(...completed) - started)
        each.push(...completed.map((at) => at - started))
      }
      bench.measured({ what: `${plural(count, 'client')}, the last one`, unit: 'ms', values: last })
      bench.measured({ what: `${plural(count, 'client')}, each`, unit: 'ms', values: each })
    })
  },
}
