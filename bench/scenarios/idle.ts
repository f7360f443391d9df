import { plural, size, type Scenario } from '../scenario.ts'
import { COUNTING, difference, rowsWritten, takeCounts } from '../counts.ts'
import { crowd, insertCrowd, insertItems, withWorld } from '../world.ts'

const BUCKETS = 30

export const idle: Scenario = {
  name: 'idle',
  about:
    'what 100 clients that are connected and hear nothing cost in 60 s: processor of workerd, rows written, calls of objects',
  standard: true,
  async run(bench) {
    const count = size(bench, 100, 30)
    const seconds = size(bench, 60, 2)
    const prepare = [insertItems(1, 3_000, 1, BUCKETS), insertCrowd(count, 1, BUCKETS)]
    await withWorld(bench, { prepare, front: COUNTING }, async (world) => {
      await world.start()
      await world.serving()
      const clients = world.clients()
      const list = await crowd(world, count)
      const unconnected = await takeCounts(world)
      await clients.call('open', { group: 'crowd', url: world.url, transport: 'native', clients: list, together: 20 })
      const connected = difference(await takeCounts(world), unconnected)
      bench.counted({
        what: `${plural(count, 'client')} connect`,
        counts: { ...connected, 'rows written': rowsWritten(connected) },
      })
      // Waits until the objects that connecting has woken are asleep.
      await new Promise((resolve) => setTimeout(resolve, size(bench, 15_000, 100)))
      const used: number[] = []
      for (let round = 0; round < (bench.quick ? 1 : 2); round++) {
        const [before, from] = [await takeCounts(world), world.processorSeconds()]
        await new Promise((resolve) => setTimeout(resolve, seconds * 1_000))
        used.push(world.processorSeconds() - from)
        const counts = difference(await takeCounts(world), before)
        bench.counted({
          what: `${plural(count, 'idle client')}, ${seconds} s`,
          counts: { ...counts, 'rows written': rowsWritten(counts) },
        })
      }
      bench.measured({ what: `${plural(count, 'idle client')}, ${seconds} s: processor`, unit: 's', values: used })
    })
  },
}
