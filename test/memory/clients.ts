import { until } from '../support/support.ts'
import type { Reader } from './reader.ts'
import { check, type Scenario } from './scenario.ts'
import type { World } from './world.ts'

// Clients that are more than there is room for.

const TOGETHER = 50

/** So many readers, some at a time. */
async function readers(
  count: number,
  open: (n: number) => Promise<Reader>,
  seen: (all: readonly Reader[]) => unknown,
): Promise<Reader[]> {
  const all: Reader[] = []
  for (let n = 0; n < count; n += TOGETHER) {
    const some = await Promise.all(Array.from({ length: Math.min(TOGETHER, count - n) }, (_, i) => open(n + i)))
    all.push(...some)
    const settled = ({ complete, refused }: Reader) => complete || Object.keys(refused).length > 0
    await until(
      'these clients',
      async () => some.every(settled),
      900,
      () => seen(all),
    )
  }
  return all
}

const refusals = (all: readonly Reader[]) => {
  const sum: Record<string, number> = {}
  for (const { refused } of all) for (const [code, n] of Object.entries(refused)) sum[code] = (sum[code] ?? 0) + n
  return sum
}

const state = (all: readonly Reader[], world: World) => [
  all.filter(({ complete }) => complete).length,
  refusals(all),
  world.isolates.peaks,
]

/** Of four streams each; no one else has them. */
const SPOTS = 300

const spots = (relays: number): Scenario => ({
  name: relays === 1 ? 'relay' : `relay-${relays}`,
  about: `2,000 streams of 300 buckets offered to ${relays === 1 ? 'one relay' : `${relays} relays in one isolate`}, whose budget is 150,000`,
  tables: 'create table spots (id text primary key, spot text not null)',
  streams: `  spots: { auto_subscribe: true, query: "SELECT id FROM spots WHERE spot IN auth.parameter('spots')" }\n`,
  bindings: { RELAYS: String(relays) },
  suite: false,
  async run(world) {
    const streams = 2_000
    const claims = (n: number) => ({ spots: Array.from({ length: SPOTS }, (_, i) => `spot ${Math.floor(n / 4)}-${i}`) })
    const all = await readers(
      streams,
      (n) => world.reader(`user ${n}`, claims(n)),
      (some) => state(some, world),
    )
    const served = all.filter(({ complete }) => complete)
    // Those that are refused come back all the time; who is served has its changes all the same.
    const [first] = served
    check(first !== undefined, () => state(all, world))
    const { completes } = first
    const from = performance.now()
    await world.sql`insert into spots values ('s', ${`spot ${Math.floor(all.indexOf(first) / 4)}-0`})`
    await until(
      'a change',
      async () => first.completes > completes,
      300,
      () => state(all, world),
    )
    const took = performance.now() - from
    // And who is refused is served when others have left.
    const refused = all.filter((reader) => !served.includes(reader))
    for (const reader of served.slice(0, 100)) reader.close()
    await until(
      'others',
      async () => refused.filter(({ complete }) => complete).length >= Math.min(90, refused.length),
      900,
      () => state(all, world),
    )
    return `${served.length} streams were served, ${JSON.stringify(refusals(all))}; a change took ${took.toFixed(0)} ms`
  },
})
export const relay = spots(1)
export const relays = spots(4)

export const downloads: Scenario = {
  name: 'downloads',
  about: '2,000 clients download 1.9 MB each at once; 150 others read 15 MB by 200 KB/s, and 50 stop reading',
  tables: 'create table shelves (id int primary key, shelf text not null, body text not null)',
  streams: `  shelf: { auto_subscribe: true, query: "SELECT id, body FROM shelves WHERE shelf = auth.parameter('shelf')" }\n`,
  prepare: (
    long,
  ) => `insert into shelves select n, case when n <= 5000 then 'small' else 'large' end, repeat(md5(n::text), 6)
    from generate_series(1, ${long ? 45_000 : 10_000}) n`,
  suite: true,
  async run(world, long) {
    const [fast, slow, stopped] = long ? [2_000, 150, 50] : [100, 15, 5]
    const open = (count: number, kind: string, shelf: string, pace: 'fast' | 'stops' | number) =>
      Promise.all(Array.from({ length: count }, (_, n) => world.reader(`${kind} ${n}`, { shelf }, pace)))
    const idle = await open(stopped, 'stopped', 'large', 'stops')
    const others = await open(slow, 'slow', 'large', 200_000)
    const quick = await open(fast, 'fast', 'small', 'fast')
    const from = performance.now()
    const seconds = () => ((performance.now() - from) / 1_000).toFixed(0)
    await until(
      'the fast ones',
      async () => quick.every(({ complete }) => complete),
      3_600,
      () => state(quick, world),
    )
    const first = seconds()
    await until(
      'the slow ones',
      async () => others.every(({ complete }) => complete),
      3_600,
      () => state(others, world),
    )
    const second = seconds()
    for (const reader of [...quick, ...others, ...idle]) reader.close()
    return `fast ones were complete after ${first} s, slow ones after ${second} s; ended ${JSON.stringify({ fast: refusals(quick), slow: refusals(others), stopped: refusals(idle) })}`
  },
}
