import type { Transport } from '../client/transport.ts'
import type { Clients } from '../clients.ts'
import { check, plural, size, type Bench, type Scenario } from '../scenario.ts'
import { insertItems, insertReader, withWorld, type World } from '../world.ts'

const TRANSPORTS: { transport: Transport; name: string }[] = [
  { transport: 'ndjson', name: 'NDJSON' },
  { transport: 'gzip', name: 'NDJSON in gzip' },
  { transport: 'zstd', name: 'NDJSON in zstd' },
  { transport: 'bson', name: 'BSON' },
  { transport: 'native', name: 'WebSocket' },
]

/** Empty clients, from connecting to `checkpoint_complete`. */
export const firstSync: Scenario = {
  name: 'first-sync',
  about: 'clients with empty databases get 100,000 or 1,000,000 ops out of 1 or 100 buckets, over each transport',
  standard: true,
  async run(bench) {
    for (const ops of size(bench, [100_000, 1_000_000], [2_000])) await synced(bench, ops)
  },
}

async function synced(bench: Bench, ops: number): Promise<void> {
  const prepare = [
    insertItems(1, ops, 0, 1),
    insertItems(ops + 1, 2 * ops, 1, 100),
    insertReader('of-1', 0),
    insertReader('of-100', 1, 100),
  ]
  await withWorld(bench, { prepare, bindings: { STREAM_COMPRESSION: 'on' } }, async (world) => {
    await world.start()
    await world.serving()
    await world.idle()
    for (const buckets of [1, 100]) {
      for (const { transport, name } of TRANSPORTS) {
        await oneKind({ bench, world, ops, buckets, transport, name, count: 1 })
        // Ten clients with a million ops each would show nothing more than ten with a hundred thousand.
        if (ops < 500_000) await oneKind({ bench, world, ops, buckets, transport, name, count: size(bench, 10, 3) })
      }
    }
  })
}

interface Kind {
  bench: Bench
  world: World
  ops: number
  buckets: number
  transport: Transport
  name: string
  count: number
}

async function oneKind({ bench, world, ops, buckets, transport, name, count }: Kind): Promise<void> {
  const clients = world.clients()
  const token = await world.token(`of-${buckets}`)
  if (count === 1) await download({ clients, world, ops, buckets, transport, token, count, verify: true })
  const rates: number[] = []
  const bytes: number[] = []
  const received: number[] = []
  for (let round = 0; round < bench.rounds; round++) {
    const { seconds, megabytes, onTheWire } = await download({
      clients,
      world,
      ops,
      buckets,
      transport,
      token,
      count,
      verify: false,
    })
    rates.push((ops * count) / seconds)
    bytes.push(megabytes / seconds)
    received.push(onTheWire)
  }
  await clients.stop()
  const what = `${plural(ops, 'op')}, ${plural(buckets, 'bucket')}, ${name}, ${plural(count, 'client')}`
  bench.measured({ what, unit: 'ops/s', values: rates, aim: count === 1 ? '≥ 200,000' : '≥ 250,000 together' })
  bench.measured({ what, unit: 'MB/s', values: bytes, ...(count === 1 ? { aim: '≥ 60' } : {}) })
  if (count === 1) bench.measured({ what: `${what}: on the wire`, unit: 'MB', values: received })
}

interface Download {
  clients: Clients
  world: World
  ops: number
  buckets: number
  transport: Transport
  token: string
  count: number
  verify: boolean
}

async function download({ clients, world, ops, buckets, transport, token, count, verify }: Download) {
  const group = 'first'
  const list = Array.from({ length: count }, (_, i) => ({ token, clientId: `first-${i}` }))
  const opened = await clients.call('open', {
    group,
    url: world.url,
    transport,
    clients: list,
    together: count,
    verify,
  })
  await clients.call('close', { group })
  const { totals, started, completed } = opened
  check(totals.ops === ops * count, () => `${count} × ${ops} ops were expected, ${totals.ops} came`)
  check(
    totals.announced === ops * count && totals.buckets === buckets * count,
    () => `announced were ${JSON.stringify(totals)}`,
  )
  return {
    seconds: (Math.max(...completed) - started) / 1_000,
    megabytes: totals.bytes / 1e6,
    onTheWire: totals.received / 1e6,
  }
}
