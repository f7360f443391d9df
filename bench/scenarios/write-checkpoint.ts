import { check, size, type Scenario } from '../scenario.ts'
import { insertItems, insertReader, withWorld } from '../world.ts'

export const writeCheckpoint: Scenario = {
  name: 'write-checkpoint',
  about: 'from the request of a write checkpoint to checkpoint_complete with its number',
  standard: true,
  async run(bench) {
    await withWorld(bench, { prepare: [insertItems(1, 100), insertReader('reader', 0)] }, async (world) => {
      await world.start()
      await world.serving()
      const clients = world.clients()
      const list = [{ token: await world.token('reader'), clientId: 'reader' }]
      await clients.call('open', { group: 'reader', url: world.url, transport: 'ndjson', clients: list, together: 1 })
      await clients.call('writeCheckpoints', { group: 'reader', times: size(bench, 20, 2) })
      const { values } = await clients.call('writeCheckpoints', { group: 'reader', times: size(bench, 500, 10) })
      check(values.length === size(bench, 500, 10), () => `${values.length} came`)
      bench.measured({ what: 'request → checkpoint', unit: 'ms', values, aim: 'p50 ≤ 10' })
    })
  },
}
