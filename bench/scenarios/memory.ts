import { size, type Scenario } from '../scenario.ts'
import { insertItems, insertReader, withWorld } from '../world.ts'

const BUCKETS = 30
const SHELVES = 300
const TRANSPORTS = [
  { transport: 'native' as const, name: 'WebSocket' },
  { transport: 'ndjson' as const, name: 'NDJSON' },
]

/** Resident memory of workerd, after objects that nobody calls have gone to sleep. */
export const memory: Scenario = {
  name: 'memory',
  about: 'memory of workerd with nobody connected, and per idle client with 30 buckets',
  standard: true,
  async run(bench) {
    const count = size(bench, 2_000, 20)
    const readers = Array.from({ length: count }, (_, i) =>
      insertReader(`user-${i}`, 1 + ((i * 7) % (SHELVES - BUCKETS)), 30 + ((i * 7) % (SHELVES - BUCKETS))),
    )
    const asleep = () => new Promise((resolve) => setTimeout(resolve, size(bench, 20_000, 100)))
    const prepare = [insertItems(1, 3_000, 1, SHELVES), ...readers]
    for (const { transport, name } of size(bench, TRANSPORTS, TRANSPORTS.slice(0, 1))) {
      await withWorld(bench, { prepare }, async (world) => {
        await world.start()
        await world.serving()
        await asleep()
        const copied = world.resident()
        // workerd does not return the memory that the copy needed, so it is restarted.
        await world.stop()
        await world.start()
        await world.serving()
        await asleep()
        const alone = world.resident()
        const clients = world.clients()
        const list = await Promise.all(
          Array.from({ length: count }, async (_, i) => ({
            token: await world.token(`user-${i}`),
            clientId: `client-${i}`,
          })),
        )
        const half = list.splice(0, count / 2)
        // The first half fills caches and heaps, because an idle workerd does not collect garbage. Only the second half
        // is measured.
        await clients.call('open', { group: 'half', url: world.url, transport, clients: half, together: 20 })
        await asleep()
        const between = world.resident()
        await clients.call('open', { group: 'rest', url: world.url, transport, clients: list, together: 20 })
        await asleep()
        const full = world.resident()
        if (transport === 'native') {
          bench.measured({ what: 'nobody connected, after the first copy', unit: 'MB', values: [copied] })
          bench.measured({ what: 'nobody connected, started again', unit: 'MB', values: [alone], aim: '≤ 100' })
        }
        const what = `per idle client with ${BUCKETS} buckets, ${name}`
        bench.measured({ what: `${what}, all ${count}`, unit: 'MB', values: [(full - alone) / count] })
        bench.measured({
          what: `${what}, the second half`,
          unit: 'MB',
          values: [(full - between) / list.length],
          aim: '≤ 0.2',
        })
      })
    }
  },
}
