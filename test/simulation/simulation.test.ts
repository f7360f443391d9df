import { describe, expect, test } from 'vitest'
import { Log } from '../../durable-objects/bucket/log.ts'
import { SimClient } from './client.ts'
import { Sim } from './sim.ts'
import { World, type Change } from './world.ts'

const SCHEDULES = Number(process.env.ROCKPOOL_SCHEDULES ?? 400)
const TRANSACTIONS = 12
const USERS = ['u1', 'u2']

/** One schedule: what went wrong, or null. */
async function schedule(seed: number): Promise<{ violation: string | null; checkpoints: number }> {
  const sim = new Sim(seed)
  sim.loss = sim.chance(0.5) ? 0.08 : 0
  const world = new World(sim, 2)
  const clients = [new SimClient(world, 'u1', 'a'), new SimClient(world, 'u2', 'b'), new SimClient(world, 'u1', 'c')]
  const violated = (): string | null => clients.map((client) => client.violation).find((each) => each !== null) ?? null
  let writes = 0
  for (let n = 0; n < TRANSACTIONS; n++) {
    const changes = Array.from({ length: sim.int(4) }, (): Change => change(sim, n))
    const client = clients[sim.int(clients.length)]
    // Numbers commit in another order than they were given.
    const write: [string, string, number] | null = client && sim.chance(0.3) ? [client.user, client.id, (writes++ ^ 1) + 1] : null
    world.source.push({ changes, write })
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

async function firstViolation(seeds: number): Promise<{ seed: number; violation: string } | null> {
  for (let seed = 1; seed <= seeds; seed++) {
    const { violation } = await schedule(seed)
    if (violation !== null) return { seed, violation }
  }
  return null
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
  test('a bucket that answers with its head instead of the checkpoint is found out', async () => {
    const state = Log.prototype.state
    Log.prototype.state = function () {
      return state.call(this, Number.MAX_SAFE_INTEGER)
    }
    try {
      expect(await firstViolation(200)).not.toBeNull()
    } finally {
      Log.prototype.state = state
    }
  }, 120_000)

  test('a bucket that reads beyond the checkpoint is found out', async () => {
    const read = Log.prototype.read
    Log.prototype.read = function (after, _checkpoint, budget) {
      return read.call(this, after, Number.MAX_SAFE_INTEGER, budget)
    }
    try {
      expect(await firstViolation(200)).not.toBeNull()
    } finally {
      Log.prototype.read = read
    }
  }, 120_000)
})
