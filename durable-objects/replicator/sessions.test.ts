import { expect, test, vi } from 'vitest'
import type { DayUsage } from '../../protocol/dollars.ts'
import type { Allowance } from '../../protocol/messages/directory.ts'
import { memoryKind } from '../../sources/memory/memory-source.ts'
import { budgetOf, NO_BUDGET } from '../../tenants/budget.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import { heldRows, MemoryLoad, SYNC_CONFIG } from '../../test/support/memory-load.ts'
import { NodeReplicator } from '../../test/support/node-replicator.ts'
import { CurrentSession } from './current-session.ts'
import type { Session } from './session/session.ts'
import { Sessions } from './sessions.ts'
import { Usage } from './usage.ts'

// When sessions run, over a database in memory. The alarm of the object is a number here, and each call of `alarm` is
// one that fires. The file is long because each test needs the whole of it.

class World extends MemoryLoad {
  readonly kind = memoryKind(() => this.database)
  readonly replicator = new NodeReplicator({ kind: this.kind, syncConfig: SYNC_CONFIG, settings: { callSeconds: 0.2 } })
  alarm: number | null = null
  version = 'v1'
  current!: CurrentSession
  usage!: Usage
  budget = NO_BUDGET
  written = 0
  /** The days that have passed since the test began. */
  days = 0
  looks: number[] = []
  /** What the Directory was told of usage, and what it answers. */
  heard: DayUsage[] = []
  allowed: Allowance | null = { pausedUntil: null }
  /** The account has reached its spending limit. */
  isSpent = false
  sessions!: Sessions

  constructor() {
    super(1)
    this.start()
    for (let n = 0; n < 5; n++) this.load()
  }

  /** An incarnation of the object begins. */
  start(): void {
    this.replicator.restart()
    this.current = new CurrentSession()
    const { state, diagnostics } = this.replicator.parts.store
    this.usage = new Usage({
      tenant: 'default',
      state,
      diagnostics,
      written: () => ({ rows: this.written, appends: 0 }),
      now: () => this.now,
      report: () => this.sessions.report(),
      stored: {
        bytes: null,
        measured: null,
        goodUntil: 0,
        measure: async () => false,
        note: () => {},
      },
    })
    this.sessions = new Sessions({
      usage: this.usage,
      look: async (since) => this.looks.push(since),
      parts: this.replicator.parts,
      current: this.current,
      storage: {
        getAlarm: async () => this.alarm,
        setAlarm: async (at) => {
          if (this.isSpent) throw new Error("Exceeded the account's spending cap for Durable Objects.")
          this.alarm = at
        },
        deleteAlarm: async () => void (this.alarm = null),
        sync: async () => {},
      },
      resetReason: null,
      tenant: () => ({
        name: 'default',
        find: async () =>
          ({
            name: 'default',
            version: this.version,
            replication: this.replicator.settings,
            budget: this.budget,
          }) as Tenant,
        secret: vi.fn().mockResolvedValue('memory://app'),
        compaction: () => Promise.reject(new Error('nothing is compacted')),
        confirm: async () => {},
        heard: async (_, usage) => {
          this.heard.push(usage)
          return this.allowed
        },
        former: async () => [],
        left: async () => {},
        changed: () => {},
      }),
      kindOf: () => this.kind,
      isElsewhere: () => false,
      isLive: () => this.replicator.isLive,
      former: { leave: async () => {} },
      settled: async () => {},
    })
    this.sessions.start()
  }

  get now(): number {
    return Date.now() + this.days * 86_400_000
  }

  /** In how many seconds the next session begins, to a tenth of the shortest pause of polls; never -0. */
  get seconds(): number {
    return 6 * Math.round(((this.alarm ?? 0) - Date.now()) / 6_000) + 0
  }

  get counts(): Readonly<Partial<Record<string, number>>> {
    return this.replicator.parts.store.problems.counts
  }
}

test('the pause between polls doubles while they find nothing, and begins again with a change', async () => {
  const w = new World()
  const pauses: number[] = []
  for (let n = 0; n < 5; n++) {
    if (n === 3) w.load()
    await w.sessions.alarm()
    pauses.push(w.seconds)
  }
  expect(pauses).toEqual([60, 120, 240, 60, 120])
  expect(heldRows(w.replicator.objects())).toEqual(w.rows())
  expect([w.sessions.count, w.sessions.failing]).toEqual([5, null])
  // Nothing is left of a session that ended normally.
  expect(w.replicator.parts.store.state.get('running')).toBeNull()
})

test('while a client is connected one session follows the other at once, and the guard alarm is armed meanwhile', async () => {
  const w = new World()
  await w.sessions.alarm()
  w.replicator.isLive = true
  const running = w.sessions.alarm()
  await vi.waitFor(() => expect(w.current.status()?.streaming).toBe(true))
  // The guard, in case the session ends in a way that arms nothing.
  expect(w.seconds).toBe(20 * 60)
  await w.sessions.restart()
  await running
  expect(w.seconds).toBe(0)
})

test('a session that is requested while the last one is ending follows at once', async () => {
  const w = new World()
  await w.sessions.alarm()
  expect(w.seconds).toBe(60)
  w.database.misbehaviour.delaysMarks = true
  const running = w.sessions.alarm()
  await vi.waitFor(() => expect(w.current.status()?.streaming).toBe(true))
  vi.spyOn(w.current.session ?? ({} as Session), 'requestCatchUp').mockReturnValue('closing')
  await w.sessions.arm()
  w.database.flush()
  await running
  expect(w.seconds).toBe(0)
})

test('a session that fails is tried again after a pause that only an operator, or other settings, can shorten', async () => {
  const w = new World()
  w.database.misbehaviour.neverAnswers = true
  await w.sessions.alarm()
  expect(w.sessions.failing).toMatchObject({ failures: 1, code: 'ROCKPOOL_SOURCE_UNREACHABLE' })
  const far = Date.now() + 3_600_000
  w.alarm = far
  await w.sessions.arm()
  await w.sessions.wake()
  expect(w.alarm).toBe(far)
  w.version = 'v2'
  await w.sessions.wake()
  expect(w.seconds).toBe(0)
  w.alarm = far
  await w.sessions.restart()
  expect(w.seconds).toBe(0)
  w.database.misbehaviour.neverAnswers = false
  await w.sessions.alarm()
  expect([w.sessions.failing, w.counts]).toEqual([null, { ROCKPOOL_SOURCE_UNREACHABLE: 1 }])
})

test('a stream that is not the one that was stored has everything compared by the next session', async () => {
  const w = new World()
  await w.sessions.alarm()
  // Another history of the same length: only the stream can tell.
  const { length } = w.database
  w.database.restore(length - 3)
  while (w.database.length < length) w.load()
  await w.sessions.alarm()
  expect(w.counts).toEqual({ ROCKPOOL_SOURCE_CHANGED: 1, ROCKPOOL_RESYNC: 1 })
  await w.sessions.alarm()
  expect(heldRows(w.replicator.objects())).toEqual(w.rows())
})

test('after a crash the next incarnation waits as long as the crashed session says, and reports it', async () => {
  const w = new World()
  w.replicator.isLive = true
  void w.sessions.alarm().catch(() => {})
  await vi.waitFor(() => expect(w.current.status()?.streaming).toBe(true))
  const crashed = w.current.session
  w.start()
  const died = w.replicator.parts.store.state.get('running')
  expect(w.alarm).toBe(Math.max(w.alarm ?? 0, died?.until ?? 0))
  expect(w.sessions.failing).toMatchObject({ failures: 1, code: 'ROCKPOOL_INTERNAL' })
  // An alarm that fires before that begins no session.
  w.replicator.parts.store.state.set('running', died && { ...died, until: Date.now() + 3_600_000 })
  await w.sessions.alarm()
  expect([w.sessions.count, w.seconds]).toEqual([0, 3_600])
  w.replicator.parts.store.state.set('running', died && { ...died, until: 0 })
  crashed?.abandon()
  w.replicator.isLive = false
  await w.sessions.alarm()
  expect(w.counts).toMatchObject({ ROCKPOOL_RESTARTED: 1 })
})

test('a tenant that has written as many rows as it may has no sessions until the day is over, and what its database keeps is measured', async () => {
  const world = new World()
  world.budget = budgetOf({ rowsPerDay: { warn: null, refuse: 100 } })
  await world.sessions.alarm()
  expect([world.sessions.count, world.usage.paused]).toEqual([1, null])
  world.written = 100
  await world.sessions.alarm()
  const paused = world.usage.paused
  expect(paused).toMatchObject({ why: 'rowsPerDay' })
  expect([world.sessions.count, world.looks]).toEqual([1, [paused?.since]])
  // Whoever asks for a session, and however often: the database is not asked again before its time.
  for (let n = 0; n < 20; n++) await world.sessions.arm()
  for (let n = 0; n < 20; n++) await world.sessions.wake()
  await world.sessions.alarm()
  expect([world.sessions.count, world.looks.length]).toEqual([1, 1])
  expect(world.alarm).toBeLessThanOrEqual(Date.now() + 300_000)
  expect(world.alarm).toBeGreaterThan(Date.now() + 1_000)
  // Another incarnation knows it.
  world.written = 0
  world.start()
  await world.sessions.alarm()
  expect([world.sessions.count, world.usage.paused]).toEqual([0, paused])
  world.days = 1
  await world.sessions.alarm()
  expect([world.sessions.count, world.usage.paused]).toEqual([1, null])
})

test('it goes on at once when it may write more', async () => {
  const world = new World()
  world.budget = budgetOf({ rowsPerDay: { warn: null, refuse: 100 } })
  world.written = 150
  await world.sessions.alarm()
  expect(world.sessions.count).toBe(0)
  world.budget = budgetOf({ rowsPerDay: { warn: null, refuse: 1_000 } })
  await world.sessions.wake()
  expect(world.alarm).toBeLessThanOrEqual(Date.now())
  await world.sessions.alarm()
  expect([world.sessions.count, world.usage.paused]).toEqual([1, null])
})

test('a session ends when the budget of the deployment pauses its tenant, and the next one begins when it does not any more', async () => {
  const world = new World()
  await world.sessions.alarm()
  expect(world.heard).toHaveLength(2)
  world.replicator.isLive = true
  const running = world.sessions.alarm()
  await vi.waitFor(() => expect(world.current.status()?.streaming).toBe(true))
  const midnight = Date.now() + 3_600_000
  world.allowed = { pausedUntil: midnight }
  world.written = 200_000
  world.usage.check()
  // Long before it would be over.
  await vi.waitFor(() => expect(world.current.session).toBe(null), { timeout: 10_000 })
  await running
  expect(world.usage.paused).toMatchObject({ why: 'deployment', until: midnight })
  expect(world.heard.at(-1)).toMatchObject({ rows: 200_000 })
  world.load()
  await world.sessions.alarm()
  expect([world.sessions.count, world.looks.length]).toEqual([2, 1])
  // An answer that does not come changes nothing.
  world.allowed = null
  await world.sessions.wake()
  await world.sessions.alarm()
  expect([world.sessions.count, world.usage.paused]).toMatchObject([2, { why: 'deployment' }])
  world.replicator.isLive = false
  world.allowed = { pausedUntil: null }
  await world.sessions.alarm()
  await vi.waitFor(() => expect([world.usage.paused, world.seconds]).toEqual([null, 0]))
  await world.sessions.alarm()
  expect(world.sessions.count).toBe(3)
  expect(heldRows(world.replicator.objects())).toEqual(world.rows())
})

test('an alarm that could not set the next one is made good by the cron trigger, after the spending limit is lifted', async () => {
  const world = new World()
  // The runtime takes an alarm away before it calls.
  world.alarm = null
  world.isSpent = true
  await expect(world.sessions.alarm()).rejects.toThrow(/spending cap/)
  await expect(world.sessions.wake()).rejects.toThrow(/spending cap/)
  expect([world.alarm, world.sessions.count]).toEqual([null, 0])
  world.isSpent = false
  await world.sessions.wake()
  expect(world.alarm).toBeLessThanOrEqual(Date.now())
  await world.sessions.alarm()
  expect(world.sessions.count).toBe(1)
})
