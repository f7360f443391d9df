import { describe, expect, test } from 'vitest'
import { MEMORY_FORM, memoryKind } from '../../sources/memory/memory-source.ts'
import { heldRows, MemoryLoad, SYNC_CONFIG } from '../../test/support/memory-load.ts'
import { NodeReplica } from '../../test/support/node-replica.ts'
import { Random } from '../../test/support/random.ts'

// The replicator's intake, copier and tables over a source that is at its worst: what was committed is in the buckets
// in the end, each row once.

class World extends MemoryLoad {
  readonly replica: NodeReplica

  constructor(seed: number, sliceChanges = 5) {
    super(seed)
    const kind = memoryKind(() => this.database)
    this.replica = new NodeReplica({
      kind: MEMORY_FORM,
      connect: (identity) => kind.connect({ url: 'memory://app', settings: {}, clientName: 'test', identity }),
      syncConfig: SYNC_CONFIG,
      budget: { rows: 3, length: 1_000 },
      sliceChanges,
    })
  }

  /** What the database holds, and what the replica has. */
  compare(): { wanted: string[]; found: string[] } {
    const objects = ['docs', 'others'].flatMap((type) => this.replica.objects(type).map(({ data }) => ({ type, data })))
    return { wanted: this.rows(), found: heldRows(objects) }
  }

  /** Sessions until one comes through to the end. Answers how many ended before. */
  async settle(work: () => Promise<void>): Promise<number> {
    for (let ended = 0; ; ended++) {
      try {
        await this.replica.open()
        await work()
        await this.replica.settle()
        return ended
      } catch (error) {
        if (ended > 200 || !String(error).includes('the stream has ended')) throw error
      } finally {
        await this.replica.close()
      }
    }
  }
}

const SEEDS = Array.from({ length: 40 }, (_, seed) => seed + 1)

/** Commits are delivered before reads see them, and marks come late, while rows are copied. */
async function copyAtItsWorst(world: World, seed: number): Promise<void> {
  const random = new Random(seed + 1_000)
  for (let n = 0; n < 5; n++) world.load()
  const { misbehaviour } = world.database
  let on = true
  const worst = async () => {
    while (on) {
      misbehaviour.hidesCommits = random.chance(0.5)
      misbehaviour.delaysMarks = random.chance(0.5)
      if (random.chance(0.6)) world.load()
      if (random.chance(0.4)) world.database.reveal()
      if (random.chance(0.4)) world.database.flush()
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }
  await world.replica.open()
  // What is delivered before anybody remembers it, and is not visible when the copy begins.
  misbehaviour.hidesCommits = true
  for (let n = 0; n < 3; n++) world.load()
  await new Promise((resolve) => setTimeout(resolve, 1))
  const working = worst()
  await world.replica.copy()
  on = false
  await working
  misbehaviour.hidesCommits = false
  misbehaviour.delaysMarks = false
  world.database.reveal()
  world.database.flush()
  await world.replica.settle()
  await world.replica.close()
}

describe('what was committed is in the buckets in the end', () => {
  test.each(SEEDS)(
    'of a copy beside the stream, with commits that reads do not see yet and marks that come late: seed %i',
    async (seed) => {
      const world = new World(seed)
      await copyAtItsWorst(world, seed)
      const { wanted, found } = world.compare()
      expect(found).toEqual(wanted)
    },
  )

  test.each(SEEDS)(
    'of a stream that ends anywhere, again and again, and delivers everything twice: seed %i',
    async (seed) => {
      const world = new World(seed)
      const random = new Random(seed + 2_000)
      await world.settle(() => world.replica.copy())
      const { misbehaviour } = world.database
      misbehaviour.deliversTwice = random.chance(0.5)
      let ended = 0
      for (let round = 0; round < 10; round++) {
        world.load()
        misbehaviour.endsAfter = random.int(25)
        ended += await world.settle(async () => {})
      }
      const { wanted, found } = world.compare()
      expect(found).toEqual(wanted)
      expect(ended).toBeGreaterThan(0)
    },
  )
})

test('a stream that ends after any event of a transaction continues there, slice by slice: nothing is lost or taken in twice', async () => {
  const changes = 23
  for (let cut = 0; cut <= changes + 2; cut++) {
    const world = new World(7, 2)
    await world.settle(() => world.replica.copy())
    world.commit(changes)
    world.database.misbehaviour.endsAfter = cut
    expect(await world.settle(async () => {})).toBe(1)
    const { wanted, found } = world.compare()
    expect(found).toEqual(wanted)
  }
})

// What the tests above would say of a source that does not keep its contract: each of them can fail.
test.each(['waits for what was delivered', 'says what a read has seen', 'leaves out unknown values'] as const)(
  'a source without a rule is noticed: %s',
  async (rule) => {
    let wrong = 0
    for (let seed = 1; seed <= 40 && wrong === 0; seed++) {
      const world = new World(seed)
      world.database.broken.add(rule)
      try {
        await copyAtItsWorst(world, seed)
      } catch {
        wrong++
      }
      const { wanted, found } = world.compare()
      if (JSON.stringify(found) !== JSON.stringify(wanted)) wrong++
    }
    expect(wrong).toBeGreaterThan(0)
  },
)
