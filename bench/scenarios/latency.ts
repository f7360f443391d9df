import { check, size, type Scenario } from '../scenario.ts'
import { insertItems, insertReader, withWorld } from '../world.ts'

export const latency: Scenario = {
  name: 'latency',
  about: 'from the answer of COMMIT to checkpoint_complete at a client, one row at a time',
  standard: true,
  async run(bench) {
    const prepare = [insertItems(1, 1_000), insertReader('reader', 0)]
    await withWorld(bench, { prepare }, async (world) => {
      await world.start()
      await world.serving()
      const clients = world.clients()
      const group = 'reader'
      const list = [{ token: await world.token('reader'), clientId: 'reader' }]
      for (const { transport, name } of [
        { transport: 'ndjson' as const, name: 'NDJSON' },
        { transport: 'native' as const, name: 'WebSocket' },
      ]) {
        await clients.call('open', { group, url: world.url, transport, clients: list, together: 1, verify: true })
        const { ops: before } = await clients.call('totals', { group })
        const statement = 'update items set title = title || 1 where id = (select 1 + floor(random() * 1000)::int)'
        const ask = { group, databaseUrl: world.databaseUrl, statement }
        // The first changes wake sleeping objects.
        await clients.call('latencies', { ...ask, times: size(bench, 50, 3) })
        const times = size(bench, 1_000, 20)
        const { values } = await clients.call('latencies', { ...ask, times })
        const { ops } = await clients.call('totals', { group })
        check(ops - before === times + size(bench, 50, 3), () => `${times} rows were changed, ${ops - before} ops came`)
        await clients.call('close', { group })
        bench.measured({ what: `one row, ${name}`, unit: 'ms', values, aim: 'p50 ≤ 5, p99 ≤ 25' })
      }
    })
  },
}
