import { now } from '../client/clock.ts'
import { check, plural, size, type Bench, type Scenario } from '../scenario.ts'
import { crowd, insertCrowd, insertItems, withWorld } from '../world.ts'

/**
 * Clients are opened in groups of this size, because each keeps an object (its mailbox) awake for 10 s, and this
 * machine has room for a few thousand.
 */
const TOGETHER = 50
/** With more clients than this, the objects that connecting has woken must sleep first. */
const MANY = 1_000
/**
 * The most clients. Locally all streams are in one isolate, which has room for the state of about 4,900
 * (`KNOWN_BYTES`).
 */
const MOST = 4_000
const ASLEEP_MS = 15_000

export const fanOut: Scenario = {
  name: 'fan-out',
  about: 'one change to 200, 1,000 and 4,000 connected clients: until the last one has it',
  standard: true,
  async run(bench) {
    for (const count of size(bench, [200, 1_000, MOST], [30])) await told(bench, count, 1)
    if (!bench.quick) await told(bench, MOST, 3)
  },
}

const AIMS = new Map([
  [200, '≤ 40'],
  [1_000, '≤ 200'],
])

async function told(bench: Bench, count: number, relays: number): Promise<void> {
  const prepare = [insertItems(1, 100), insertCrowd(count, 0)]
  await withWorld(bench, { prepare, bindings: { RELAYS: String(relays) } }, async (world) => {
    await world.start()
    await world.serving()
    const clients = world.clients()
    const everybody = await crowd(world, count)
    const group = 'crowd'
    for (let at = 0; at < count; at += MANY) {
      const list = everybody.slice(at, at + MANY)
      const ask = {
        group: `${group}-${at}`,
        url: world.url,
        transport: 'native' as const,
        clients: list,
        together: TOGETHER,
      }
      const { totals } = await clients.call('open', ask)
      check(totals.ops === list.length * 100, () => `each client has 100 ops, together ${totals.ops} came`)
      if (count > MANY) await new Promise((resolve) => setTimeout(resolve, ASLEEP_MS))
    }
    const last: number[] = []
    const all: number[] = []
    const rounds = size(bench, bench.rounds * 4, 2)
    // The first change may find the relay asleep, so it is reported separately.
    let woken = 0
    for (let n = 0; n <= rounds; n++) {
      await world.sql`update items set title = ${`change ${n}`} where id = 1`
      const committed = now()
      const answers = await Promise.all(
        Array.from({ length: Math.ceil(count / MANY) }, (_, i) =>
          clients.call('reach', { group: `${group}-${i * MANY}`, ops: 101 + n }),
        ),
      )
      const times = answers.flatMap(({ completed }) => completed.map((at) => Math.max(0, at - committed)))
      check(times.length === count, () => `${count} clients were to be told, ${times.length} were`)
      if (n === 0) woken = Math.max(...times)
      else {
        last.push(Math.max(...times))
        all.push(...times)
      }
    }
    const what = plural(count, 'client') + (relays === 1 ? '' : ` over ${relays} relays`)
    const aim = AIMS.get(count)
    const note = `the first change after a pause: ${woken.toFixed(0)} ms`
    bench.measured({ what: `${what}, the last one`, unit: 'ms', values: last, ...(aim ? { aim } : {}), note })
    bench.measured({ what: `${what}, each`, unit: 'ms', values: all })
  })
}
