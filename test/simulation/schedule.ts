import { SimClient } from './client.ts'
import { SimDirectClient } from './direct-client.ts'
import { settled, Sim } from './sim.ts'
import type { Change } from './source.ts'
import { World } from './world.ts'

const TRANSACTIONS = 12
/** Of a few rows only, and with less time between them: what is read is overtaken. */
const HOT_TRANSACTIONS = 24
const USERS = ['u1', 'u2']

export interface Outcome {
  /** What went wrong, null: nothing. */
  violation: string | null
  checkpoints: number
  steps: number
  /** How often things happened that a schedule is there for. */
  counts: Record<string, number>
}

/** One schedule: the seed decides what happens, and in which order. */
export async function schedule(seed: number): Promise<Outcome> {
  const sim = new Sim(seed)
  sim.loss = sim.chance(0.5) ? 0.08 : 0
  sim.unevenness = sim.chance(0.3) ? 0.7 : 0.3
  const sleepy = sim.chance(0.3)
  const restless = sim.chance(0.3)
  const hot = sim.chance(0.3)
  const silent = sim.chance(0.25)
  const lossy = sim.chance(0.4)
  const torn = sim.chance(0.15)
  const world = new World(sim, 2)
  world.torn = torn
  if (sim.chance(0.15)) world.starved = `${'ghmn'[sim.int(4)] ?? ''}[`
  const clients = [new SimClient(world, 'u1', 'a'), new SimClient(world, 'u2', 'b'), new SimClient(world, 'u1', 'c')]
  const direct: SimDirectClient[] = []
  const violated = (): string | null =>
    world.violation ?? clients.find((client) => client.violation !== null)?.violation ?? null
  let writes = 0
  for (let n = 0; n < (hot || torn ? HOT_TRANSACTIONS : TRANSACTIONS); n++) {
    const changes: Change[] = []
    for (let left = torn ? 2 + sim.int(4) : sim.int(4); left > 0; left--)
      changes.push(change(world, changes, n, hot || torn))
    if (torn) changes.unshift(...unheard(world, n))
    const client = clients[sim.int(clients.length)]
    // Numbers commit in another order than they were given.
    // Without a slot they are owed.
    const write: [string, string, number] | null =
      client && !world.replicator.isLost && sim.chance(0.3) ? [client.user, client.id, (writes++ ^ 1) + 1] : null
    world.source.push({ changes, write })
    if (sim.chance(0.08)) world.plan = world.plan === 'p' ? 'q' : 'p'
    world.replicator.wake()
    const turn = world.replicator.isLost ? sim.chance(torn ? 0.25 : 0.5) : torn ? n === 1 : lossy && sim.chance(0.15)
    if (turn) world.replicator.loseOrRenewSlot()
    if (direct.length < (restless ? 3 : 2) && sim.chance(restless ? 0.3 : 0.12))
      direct.push(new SimDirectClient(world, restless ? 'g[0]' : `${sim.chance(0.5) ? 'g' : 'h'}[${sim.int(2)}]`))
    for (let part = 0; part < 4; part++) {
      await sim.run(sim.int(hot || torn ? 10 : 30))
      if (silent && sim.chance(0.15)) {
        // What was sent last may be on its way still, and the next incarnation begins with what was sent before.
        if (sim.chance(0.3)) world.replicator.crash()
        world.replicator.fence()
      }
      if (sleepy) for (const relay of world.relays) relay.hibernate()
      if (restless) direct[sim.int(3)]?.disconnect()
      if (restless && sim.chance(0.3)) world.replicator.publishAll()
      if (restless && sim.chance(0.3)) clients[sim.int(clients.length)]?.disconnect()
    }
    if (violated() !== null) break
    fault(sim, world, clients, direct)
  }
  sim.loss = 0
  if (world.replicator.isLost) world.replicator.loseOrRenewSlot()
  world.replicator.wake()
  const idle = violated() !== null || (await sim.run(30_000))
  for (let wait = 0; wait < 5; wait++) await settled()
  let violation = violated()
  if (violation === null && !idle) violation = 'it does not come to rest'
  if (violation === null && !clients.every((client) => client.current())) {
    violation = `a client stalls: ${clients.map((client) => `${client.id} at ${client.applied}`).join(', ')} of ${world.source.length}, committed ${world.replicator.serving.checkpoint}`
  }
  const stale = direct.find((client) => !client.current())
  if (violation === null && stale) violation = `a direct stream stalls: ${stale.bucket}`
  world.release()
  const checkpoints = [...clients, ...direct].reduce((sum, client) => sum + client.checkpoints, 0)
  return { violation, checkpoints, steps: sim.steps, counts: world.counts }
}

function fault(sim: Sim, world: World, clients: SimClient[], direct: SimDirectClient[]): void {
  const bucket = [...world.buckets.values()][sim.int(Math.max(1, world.buckets.size))]
  const dice = sim.random()
  if (dice < 0.12) world.replicator.crash()
  else if (dice < 0.22) world.relays[sim.int(2)]?.crash()
  else if (dice < 0.44) world.relays[sim.int(2)]?.hibernate()
  else if (dice < 0.54) world.replicator.cutSockets()
  else if (dice < 0.68) clients[sim.int(clients.length)]?.disconnect()
  else if (dice < 0.72) direct[sim.int(direct.length)]?.disconnect()
  else if (dice < 0.77) bucket?.crash()
  else if (dice < 0.84) for (const each of world.buckets.values()) each.hibernate()
}

/**
 * A row that comes while there is no slot, and that each transaction touches without its large value until the tables
 * are compared: nothing is stored of it, and it alone may keep the comparison from its end. Then it goes.
 */
function unheard(world: World, n: number): Change[] {
  const { sim, source, replicator } = world
  const key = 'i9'
  const before = world.row(source.length, 'items', key)
  if (replicator.isLost && !before)
    return [{ table: 'items', key, row: { id: key, group: '0', v: `${n}`, big: `b${n}` } }]
  if (replicator.isLost || !before) return []
  if (replicator.isCopying) return [{ table: 'items', key, row: { ...before, v: `${n}` }, unsent: true }]
  return sim.chance(0.7) ? [{ table: 'items', key, row: null }] : []
}

/** `before`: other changes of the same transaction. */
function change(world: World, before: readonly Change[], n: number, hot: boolean): Change {
  const { sim } = world
  if (sim.chance(0.3)) {
    const user = USERS[sim.int(hot ? 1 : 2)] ?? ''
    const group = String(sim.int(hot ? 2 : 3))
    const key = `${user}-${group}`
    return { table: 'members', key, row: sim.chance(0.65) ? { id: key, user, group } : null }
  }
  const key = `i${sim.int(hot ? 2 : 5)}`
  // What goes again inside a transaction may have been all that its table lacked.
  if (!sim.chance(world.torn ? 0.5 : 0.8)) return { table: 'items', key, row: null }
  const earlier = before.findLast((each) => each.table === 'items' && each.key === key)
  const big = (earlier ? earlier.row : world.row(world.source.length, 'items', key))?.big
  const unsent = big !== undefined && sim.chance(world.torn ? 0.8 : 0.6)
  return {
    table: 'items',
    key,
    row: { id: key, group: String(sim.int(3)), v: `${n}`, big: unsent ? big : `b${n}` },
    unsent,
  }
}
