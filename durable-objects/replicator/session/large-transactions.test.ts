import { describe, expect, test } from 'vitest'
import { memoryKind } from '../../../sources/memory/memory-source.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import { DOCS, heldRows, MemoryLoad, SYNC_CONFIG } from '../../../test/support/memory-load.ts'
import { NodeReplicator } from '../../../test/support/node-replicator.ts'
import { Random } from '../../../test/support/random.ts'
import { PASSED_COST, PASSED_NOTED } from '../ingest/transaction-limit.ts'

// Whole sessions over a database in memory whose transactions are larger than a session may be.

/** A session may end so often before the last one. */
const MOST_SESSIONS = 200

class World extends MemoryLoad {
  readonly replicator: NodeReplicator
  /** Every state that the database was in. */
  readonly states = new Set<string>()
  settings: Partial<ReplicationSettings>

  constructor(settings: Partial<ReplicationSettings>, seed = 1) {
    super(seed)
    this.settings = { sliceChanges: 100, ...settings }
    this.replicator = new NodeReplicator({ kind: memoryKind(() => this.database), syncConfig: SYNC_CONFIG })
    this.#noteState()
  }

  override commit(changes: number): void {
    super.commit(changes)
    this.#noteState()
  }

  /** One transaction of so many new rows. */
  insert(rows: number): void {
    const v = String(this.database.length)
    this.database.commit(
      ...Array.from({ length: rows }, (_, n) => ({
        op: 'insert' as const,
        table: DOCS,
        row: { id: `${v} ${n}`, v, big: v },
      })),
    )
    this.#noteState()
  }

  #noteState(): void {
    this.states.add(JSON.stringify(this.rows()))
  }

  /** One session. Whatever it does, clients have a state of the database. */
  async run(): Promise<string> {
    const end = await this.replicator.run(this.settings).catch((error: unknown) => String(error))
    expect(this.states).toContain(JSON.stringify(this.held))
    return end
  }

  /** Sessions until one takes in everything. Returns how many ended before it. */
  async settle(): Promise<number> {
    for (let sessions = 0; sessions < MOST_SESSIONS; sessions++) if ((await this.run()) === 'idle') return sessions
    throw new Error('no session comes to an end')
  }

  get held(): string[] {
    return heldRows(this.replicator.objects())
  }

  count(code: string): number {
    const { counts } = this.replicator.parts.store.problems
    return Object.entries(counts).find(([name]) => name === code)?.[1] ?? 0
  }

  get left(): number {
    return this.count('ROCKPOOL_TRANSACTION_SKIPPED')
  }

  /** Sessions whose stream ends after so many events, each in an incarnation of its own. */
  async endAfter(...events: number[]): Promise<void> {
    for (const each of events) {
      this.database.misbehaviour.endsAfter = each
      expect(await this.run()).toMatch(/the stream has ended/)
      await this.restart()
    }
  }

  /** Another incarnation, once the last one does nothing any more: in Node nothing ends it. */
  async restart(): Promise<void> {
    while (this.replicator.parts.committer.status().sending > 0) await new Promise((resolve) => setTimeout(resolve, 1))
    this.replicator.restart()
  }
}

/** A replicator that has taken in a little. */
async function settled(settings: Partial<ReplicationSettings> = {}): Promise<World> {
  const w = new World(settings)
  w.insert(10)
  await w.settle()
  return w
}

describe('a transaction of more rows than are read of one', () => {
  test('is left behind: everything is compared, and what comes behind it comes by the stream', async () => {
    const w = await settled({ transactionRows: 1_000 })
    w.insert(1_000)
    await w.settle()
    expect([w.left, w.held]).toEqual([0, w.rows()])
    w.insert(1_001)
    expect(await w.run()).toBe('restart')
    expect(w.replicator.parts.committer.status().comparing).not.toBeNull()
    await w.settle()
    expect([w.left, w.held]).toEqual([1, w.rows()])
    expect(w.replicator.parts.committer.status().comparing).toBeNull()
    const { batches } = w.replicator.parts.committer.status()
    w.insert(1)
    expect(await w.run()).toBe('idle')
    expect([w.left, w.held]).toEqual([1, w.rows()])
    expect(w.replicator.parts.committer.status().batches - batches).toBeLessThan(5)
  })

  test('and another one, and one that comes while everything is compared', async () => {
    const w = await settled({ transactionRows: 1_000 })
    w.insert(2_000)
    w.insert(3)
    w.insert(2_000)
    expect(await w.run()).toBe('restart')
    w.insert(2_000)
    await w.settle()
    expect([w.left, w.held, w.count('ROCKPOOL_RESYNC')]).toEqual([3, w.rows(), 0])
  })

  test('values that the stream leaves out are not taken from what was stored before it', async () => {
    const w = await settled({ transactionRows: 1_000 })
    const row = (big: string, v: string) => ({ id: 'large', v, big })
    w.database.commit({ op: 'insert', table: DOCS, row: row('old', '1') })
    await w.settle().catch(() => {})
    w.database.commit(
      ...Array.from({ length: 1_500 }, (_, n) => ({
        op: 'insert' as const,
        table: DOCS,
        row: { id: `x${n}`, v: '', big: '' },
      })),
      { op: 'update', table: DOCS, row: row('new', '2') },
    )
    w.database.commit({ op: 'update', table: DOCS, row: row('new', '3'), unsent: ['big'] })
    for (let sessions = 0; sessions < 20 && (await w.replicator.run(w.settings)) !== 'idle'; sessions++);
    expect([w.left, w.held]).toEqual([1, w.rows()])
  })

  test('is sent once more when the source has not heard that it was left, and then no more', async () => {
    const w = await settled({ transactionRows: 1_000 })
    w.insert(1_500)
    const n = w.database.length
    expect(await w.run()).toBe('restart')
    expect(w.database.kept).toBe(n)
    // As if the acknowledgement had never come.
    w.database.kept = n - 1
    await w.restart()
    expect(await w.run()).toMatch(/came again/)
    await w.settle()
    expect([w.left, w.held]).toEqual([1, w.rows()])
  })

  test('before anything is served is left behind as well', async () => {
    const w = new World({ transactionRows: 1_000 })
    w.insert(5_000)
    w.database.misbehaviour.delaysMarks = true
    const running = w.run()
    await new Promise((resolve) => setTimeout(resolve, 20))
    w.database.misbehaviour.delaysMarks = false
    w.insert(2_000)
    await running
    await w.settle()
    expect([w.left, w.held]).toEqual([1, w.rows()])
  })
})

describe('sessions that do less than is passed before what is new', () => {
  test('a session that does less than a slice stores something of a large transaction each time', async () => {
    const w = await settled({ sessionChanges: 7 })
    w.insert(40)
    await w.settle()
    expect([w.left, w.held]).toEqual([0, w.rows()])
  })

  test('a session whose work is done by what passes stores something, too', async () => {
    const w = await settled({ sessionChanges: 10, sliceChanges: 5 })
    w.insert(10 / PASSED_COST + 100)
    await w.settle()
    expect(w.held).toEqual(w.rows())
  })
})

describe('sessions that end while only what is stored passes', () => {
  const STORED = 3 * PASSED_NOTED
  /** A session has stored so much of a transaction when its stream ends. */
  async function inside(): Promise<World> {
    const w = await settled()
    w.insert(2 * STORED)
    await w.endAfter(STORED + 50)
    return w
  }
  const passing = PASSED_NOTED + 100

  test('two, and the third reads the transaction to its end', async () => {
    const w = await inside()
    await w.endAfter(passing, passing)
    expect(await w.run()).toBe('idle')
    expect([w.left, w.held]).toEqual([0, w.rows()])
  })

  test('three, and the next one leaves it behind', async () => {
    const w = await inside()
    await w.endAfter(passing, passing, passing)
    await w.settle()
    expect([w.left, w.held]).toEqual([1, w.rows()])
  })

  test('one that comes to something new begins the count again, stored or not', async () => {
    const w = await inside()
    await w.endAfter(passing, passing, STORED + 60, passing, passing)
    expect(await w.run()).toBe('idle')
    expect([w.left, w.held]).toEqual([0, w.rows()])
  })

  test('of a transaction that is stored whole: it is not asked for again, and nothing is compared', async () => {
    const w = await settled()
    w.replicator.isLive = true
    const running = w.run()
    const { settled: before } = w.replicator
    while (w.replicator.settled === before) await new Promise((resolve) => setTimeout(resolve, 5))
    w.insert(STORED)
    while (w.held.length !== w.rows().length) await new Promise((resolve) => setTimeout(resolve, 5))
    w.replicator.session?.restart()
    await running
    w.replicator.isLive = false
    await w.endAfter(passing, passing, passing)
    expect(await w.run()).toBe('restart')
    expect(w.replicator.parts.committer.status().comparing).toBeNull()
    await w.settle()
    expect([w.left, w.held, w.count('ROCKPOOL_RESYNC')]).toEqual([0, w.rows(), 0])
  })
})

test('large and small transactions, and sessions and incarnations that end anywhere: clients have states of the database alone', async () => {
  const check = async (seed: number) => {
    const random = new Random(seed)
    const w = new World({ transactionRows: 30, sliceChanges: 5 }, seed)
    w.insert(20)
    await w.settle()
    for (let n = 0; n < 8; n++) {
      for (let commits = random.int(3); commits > 0; commits--) w.commit(1 + random.int(60))
      if (random.chance(0.3)) w.database.misbehaviour.endsAfter = random.int(80)
      await w.run()
      w.database.misbehaviour.endsAfter = Infinity
      if (random.chance(0.3)) await w.restart()
      // The acknowledgement did not come.
      if (random.chance(0.2) && w.database.kept !== null) w.database.kept = Math.max(0, w.database.kept - random.int(2))
    }
    await w.settle()
    expect(w.held, `seed ${seed}`).toEqual(w.rows())
    return w.left
  }
  const left = await Promise.all(Array.from({ length: 20 }, (_, seed) => check(seed + 1)))
  expect(left.reduce((sum, each) => sum + each)).toBeGreaterThan(20)
})
