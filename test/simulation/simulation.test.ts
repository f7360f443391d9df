import { describe, expect, test } from 'vitest'
import { Log } from '../../durable-objects/bucket/log.ts'
import { RelayMachine } from '../../durable-objects/relay/machine.ts'
import type { NoticeBucket } from '../../protocol/messages.ts'
import { View } from '../../workers/sync/view.ts'
import { SimClient } from './client.ts'
import { Sim } from './sim.ts'
import { World, type Change } from './world.ts'

const SCHEDULES = Number(process.env.ROCKPOOL_SCHEDULES ?? 2_000)
const TRANSACTIONS = 12
const USERS = ['u1', 'u2']

/** One schedule: what went wrong, or null. */
async function schedule(seed: number, unfresh = false): Promise<{ violation: string | null; checkpoints: number }> {
  const sim = new Sim(seed)
  sim.loss = sim.chance(0.5) ? 0.08 : 0
  const world = new World(sim, 2, unfresh)
  const clients = [new SimClient(world, 'u1', 'a'), new SimClient(world, 'u2', 'b'), new SimClient(world, 'u1', 'c')]
  const violated = (): string | null => clients.map((client) => client.violation).find((each) => each !== null) ?? null
  let writes = 0
  for (let n = 0; n < TRANSACTIONS; n++) {
    const changes = Array.from({ length: sim.int(4) }, (): Change => change(sim, n))
    const client = clients[sim.int(clients.length)]
    // Numbers commit in another order than they were given.
    const write: [string, string, number] | null = client && sim.chance(0.3) ? [client.user, client.id, (writes++ ^ 1) + 1] : null
    world.source.push({ changes, write })
    if (sim.chance(0.08)) world.plan = world.plan === 'p' ? 'q' : 'p'
    world.replicator.wake()
    await sim.run(sim.int(120))
    if (violated() !== null) break
    const fault = sim.random()
    if (fault < 0.12) world.replicator.crash()
    else if (fault < 0.24) world.relays[sim.int(2)]?.crash()
    else if (fault < 0.5) world.relays[sim.int(2)]?.hibernate()
    else if (fault < 0.6) world.replicator.cutSockets()
    else if (fault < 0.75) clients[sim.int(clients.length)]?.disconnect()
  }
  sim.loss = 0
  world.replicator.wake()
  const idle = violated() !== null || (await sim.run(30_000))
  for (let wait = 0; wait < 5; wait++) await new Promise((resolve) => setImmediate(resolve))
  let violation = violated()
  if (violation === null && !idle) violation = 'it does not come to rest'
  if (violation === null && !clients.every((client) => client.current())) {
    violation = `a client stalls: ${clients.map((client) => `${client.id} at ${client.applied}`).join(', ')} of ${world.source.length}, committed ${world.replicator.committed}`
  }
  return { violation, checkpoints: clients.reduce((sum, client) => sum + client.checkpoints, 0) }
}

function change(sim: Sim, n: number): Change {
  if (sim.chance(0.3)) {
    const user = USERS[sim.int(2)] ?? ''
    const group = String(sim.int(3))
    const key = `${user}-${group}`
    return { table: 'members', key, row: sim.chance(0.65) ? { id: key, user, group } : null }
  }
  const key = `i${sim.int(5)}`
  return { table: 'items', key, row: sim.chance(0.8) ? { id: key, group: String(sim.int(3)), v: `${n}` } : null }
}

/** What the first schedule that goes wrong says; null when all are right. */
async function firstViolation(seeds: number, unfresh = false): Promise<string | null> {
  for (let seed = 1; seed <= seeds; seed++) {
    const { violation } = await schedule(seed, unfresh)
    if (violation !== null) return violation
  }
  return null
}

/** Runs with one rule broken. */
async function broken<T extends object, K extends keyof T>(target: T, rule: K, wrong: (right: T[K]) => T[K]): Promise<string | null> {
  const right = target[rule]
  target[rule] = wrong(right)
  try {
    return await firstViolation(600)
  } finally {
    target[rule] = right
  }
}

describe('relay, stream, op log and pipeline under crashes, cuts, hibernation and lost calls', () => {
  test(`I1 to I7 hold at every checkpoint of ${SCHEDULES} schedules, and every client ends current`, async () => {
    let checkpoints = 0
    for (let seed = 1; seed <= SCHEDULES; seed++) {
      const result = await schedule(seed)
      expect(result.violation, `seed ${seed}`).toBeNull()
      checkpoints += result.checkpoints
    }
    expect(checkpoints).toBeGreaterThan(SCHEDULES * 10)
  }, 300_000)

  // The simulation is worth as much as it notices.
  describe('a rule that is broken is found out:', () => {
    test('a bucket answers with its head instead of the checkpoint', async () => {
      const found = await broken(Log.prototype, 'state', (right) => function (this: Log) { return right.call(this, Number.MAX_SAFE_INTEGER) }) // prettier-ignore
      expect(found).not.toBeNull()
    })

    test('a bucket reads beyond the checkpoint', async () => {
      const found = await broken(
        Log.prototype,
        'read',
        (right) =>
          function (this: Log, after, _checkpoint, budget) {
            return right.call(this, after, Number.MAX_SAFE_INTEGER, budget)
          },
      )
      expect(found).toMatch(/I2|I3/)
    })

    test('a bucket answers an append that came again with its head', async () => {
      const found = await broken(
        Log.prototype,
        'append',
        (right) =>
          function (this: Log, request) {
            right.call(this, request)
            return this.state(Number.MAX_SAFE_INTEGER)
          },
      )
      expect(found).not.toBeNull()
    })

    test('a relay takes a gap for a notice that changed nothing', async () => {
      const found = await broken(
        RelayMachine.prototype,
        'receive',
        (right) =>
          function (this: RelayMachine<unknown>, frame) {
            const same = { type: 'notice', previous: this.checkpoint ?? 0, part: 1, parts: 1, buckets: [] as NoticeBucket[] } as const
            return right.call(this, frame.type === 'gap' ? { ...frame, ...same } : frame)
          },
      )
      expect(found).not.toBeNull()
    })

    test('a relay takes part of a notice for the whole', async () => {
      const found = await broken(
        RelayMachine.prototype,
        'receive',
        (right) =>
          function (this: RelayMachine<unknown>, frame) {
            return right.call(this, frame.type === 'notice' ? { ...frame, part: 1, parts: 1 } : frame)
          },
      )
      expect(found).not.toBeNull()
    })

    test('a relay greets streams at any checkpoint that it has', async () => {
      expect(await firstViolation(600, true)).toMatch(/went back|I3/)
    })

    test('I7: a stream does not read a lookup again that changed', async () => {
      const found = await broken(
        View.prototype,
        'apply',
        (right) =>
          function (this: View, frame) {
            const valid = [...this.rows.values()].filter((lookup) => lookup.valid)
            right.call(this, frame)
            for (const lookup of valid) lookup.valid = true
          },
      )
      expect(found).toMatch(/I4\/I7|I5|stalls/)
    })

    test('a stream sends ops that came along although some before them did not', async () => {
      const found = await broken(View.prototype, 'dropTail', () => () => {})
      expect(found).toMatch(/I3/)
    })
  })
})
