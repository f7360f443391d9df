import { describe, expect, test, vi } from 'vitest'
import { RockpoolError } from '../../protocol/errors.ts'
import { budgetOf, NO_BUDGET } from '../../tenants/budget.ts'
import { testDatabase } from '../test-database.ts'
import { Diagnostics } from './store/diagnostics.ts'
import { MIGRATIONS, StateStore } from './store/storage.ts'
import { migrate } from '../shared/database.ts'
import { BUCKETS_A_MEASURE, MOST_FAILURES, StoredSize } from './stored-size.ts'
import { REPORTED_ROWS, UNSTORED_ROWS, Usage } from './usage.ts'

const HOUR = 3_600_000

class World {
  readonly db = testDatabase()
  now = Date.UTC(2026, 10, 30, 12)
  written = { rows: 0, appends: 0 }
  reports = 0
  /** What buckets answer, and how often one was asked. */
  readonly sizes = new Map<string, number | Error>()
  asked = 0
  appended = 0
  own = 0
  stored!: StoredSize
  usage!: Usage
  state!: StateStore
  diagnostics!: Diagnostics

  constructor() {
    migrate(this.db, MIGRATIONS)
    this.restart()
  }

  restart(): void {
    this.written = { rows: 0, appends: 0 }
    this.state = new StateStore(this.db)
    this.diagnostics = new Diagnostics(this.db, () => this.now)
    this.appended = 0
    this.stored = new StoredSize({
      state: this.state,
      buckets: (after, limit) =>
        [...this.sizes.keys()].map((name, n) => ({ number: n + 1, name })).slice(after, after + limit),
      size: async (name) => {
        this.asked++
        const size = this.sizes.get(name) ?? 0
        if (size instanceof Error) throw size
        return size
      },
      own: () => this.own,
      appended: () => this.appended,
      now: () => this.now,
    })
    this.usage = new Usage({
      tenant: 'acme',
      state: this.state,
      diagnostics: this.diagnostics,
      written: () => ({ ...this.written }),
      now: () => this.now,
      report: () => this.reports++,
      stored: this.stored,
    })
  }

  get told(): string[] {
    return this.diagnostics.status().recent.map(({ code, key, count }) => `${code} ${key} ${count}`)
  }
}

test('rows and appends are counted for a day of UTC, and survive a restart but for the last few', () => {
  const world = new World()
  const { usage } = world
  world.written = { rows: 4_000, appends: 1_000 }
  expect(usage.today).toMatchObject({ day: '2026-11-30', rows: 5_000, requests: 1_000 })
  usage.check()
  world.written = { rows: 9_000, appends: 2_000 }
  usage.check()
  world.written.rows += 10
  expect(usage.today.rows).toBe(11_010)
  world.restart()
  expect(world.usage.today.rows).toBeGreaterThanOrEqual(11_010 - UNSTORED_ROWS)
  world.now += 12 * HOUR
  expect(world.usage.today).toMatchObject({ day: '2026-12-01', rows: 0, requests: 0 })
})

test('counting costs a row for each 10,000', () => {
  const world = new World()
  const set = vi.spyOn(world.state, 'set')
  for (let n = 0; n < 1_000; n++) {
    world.written.rows += 100
    world.usage.check()
  }
  expect(world.usage.today.rows).toBe(100_000)
  expect(set.mock.calls.length).toBeLessThanOrEqual(100_000 / UNSTORED_ROWS + 1)
})

test('how long sessions last is counted, also of one that is under way', () => {
  const world = new World()
  world.usage.sessionBegan()
  world.now += HOUR
  world.written.rows = 20_000
  world.usage.check()
  world.now += HOUR
  expect(world.usage.today.awakeMs).toBe(2 * HOUR)
  world.usage.sessionEnded()
  world.now += HOUR
  expect(world.usage.today).toMatchObject({ awakeMs: 2 * HOUR, requests: 1 })
})

test('each level is told once a day; above the last one the session ends', () => {
  const world = new World()
  expect(world.usage.begin(budgetOf({ rowsPerDay: { warn: 50, refuse: 100 } }))).toBe(null)
  expect([world.usage.check(), world.told]).toEqual([false, []])
  for (const rows of [50, 60, 99]) {
    world.written.rows = rows
    expect(world.usage.check()).toBe(false)
  }
  expect(world.told).toEqual(['ROCKPOOL_LIMIT rowsPerDay 1'])
  for (const rows of [100, 120]) {
    world.written.rows = rows
    expect(world.usage.check()).toBe(true)
  }
  expect(world.told).toEqual(['ROCKPOOL_LIMIT rowsPerDay 1', 'ROCKPOOL_LIMIT rowsPerDay 1'])
  expect(world.usage.status().paused).toEqual({
    why: 'rowsPerDay',
    since: '2026-11-30T12:00:00.000Z',
    until: '2026-12-01T00:00:00.000Z',
  })
  world.now += 12 * HOUR
  expect(world.usage.begin(budgetOf({ rowsPerDay: { warn: 50, refuse: 100 } }))).toBe(null)
  world.written.rows += 50
  expect([world.usage.check(), world.told[0]]).toEqual([false, 'ROCKPOOL_LIMIT rowsPerDay 2'])
})

test('while it is paused what would not come is refused, with the time after which to ask again', () => {
  const world = new World()
  world.usage.refusePaused()
  world.usage.pause({ why: 'deployment', until: world.now + 90_500 })
  let refused: unknown
  try {
    world.usage.refusePaused()
  } catch (error) {
    refused = error
  }
  expect(refused).toBeInstanceOf(RockpoolError)
  expect(refused).toMatchObject({ code: 'ROCKPOOL_LIMIT', status: 429, details: { retryAfter: 91 } })
  expect(world.usage.allow({ pausedUntil: null })).toBe('resumed')
  world.usage.refusePaused()
})

test('the Directory is told in the middle of a session as often as 0.10 dollars of rows are written', () => {
  const world = new World()
  for (let n = 0; n < 1_000; n++) {
    world.written.rows += REPORTED_ROWS / 100
    world.usage.check()
  }
  expect(world.reports).toBe(10)
})

test('of two reasons to pause each holds until it is over, and each is told once', () => {
  const world = new World()
  const midnight = Date.UTC(2026, 11, 1)
  expect(world.usage.allow({ pausedUntil: null })).toBe(null)
  expect(world.usage.allow({ pausedUntil: midnight })).toBe('paused')
  expect(world.usage.allow({ pausedUntil: midnight })).toBe(null)
  expect(world.told).toEqual(['ROCKPOOL_LIMIT deployment 1'])
  expect(world.usage.paused).toMatchObject({ why: 'deployment', until: midnight })
  // It is over its own limit as well.
  world.written.rows = 100
  const budget = budgetOf({ rowsPerDay: { warn: null, refuse: 100 } })
  expect(world.usage.begin(budget)).toMatchObject({ why: 'deployment' })
  expect(world.usage.allow({ pausedUntil: null })).toBe('resumed')
  expect(world.usage.begin(budget)).toMatchObject({ why: 'rowsPerDay' })
  expect(world.usage.allow({ pausedUntil: midnight })).toBe(null)
  expect(world.usage.begin(NO_BUDGET)).toBe(null)
  expect(world.usage.allow({ pausedUntil: midnight })).toBe('paused')
  world.restart()
  expect(world.usage.paused).toMatchObject({ why: 'deployment' })
  world.now = midnight
  expect(world.usage.begin(NO_BUDGET)).toBe(null)
})

describe('what is stored', () => {
  const GB = 1024 ** 3
  const limit = budgetOf({ storedGb: { warn: 8, refuse: 10 } })
  const begin = async (world: World, budget = limit) => world.usage.begin(budget) ?? (await world.usage.beginStored())

  test('is not asked for without a limit, and writes nothing', async () => {
    const world = new World()
    world.sizes.set('a', 20 * GB)
    expect([await begin(world, NO_BUDGET), world.asked, world.stored.bytes]).toEqual([null, 0, null])
    world.usage.sessionEnded()
    expect(world.state.get('storedSize')).toBe(null)
  })

  test('is what buckets and replicator have, with what was appended since, also over a restart', async () => {
    const world = new World()
    world.sizes.set('a', 2 * GB).set('b', 3 * GB)
    world.own = GB
    expect([await begin(world), world.stored.bytes]).toEqual([null, 6 * GB])
    world.appended = GB / 2
    expect(world.stored.bytes).toBe(6.5 * GB)
    world.usage.sessionEnded()
    world.restart()
    world.appended = GB / 4
    expect(world.stored.bytes).toBe(6.75 * GB)
    // It is good for a day.
    world.now += 23 * HOUR
    await begin(world)
    expect(world.asked).toBe(2)
    world.now += HOUR
    await begin(world)
    expect([world.asked, world.stored.bytes]).toEqual([4, 6 * GB])
  })

  test('is told and then refused, once each, and goes on when the limit is raised', async () => {
    const world = new World()
    world.sizes.set('a', 8 * GB)
    expect(await begin(world)).toBe(null)
    expect(world.told).toEqual(['ROCKPOOL_LIMIT storedGb 1'])
    world.appended = 2 * GB
    expect(world.usage.check()).toBe(true)
    world.sizes.set('a', 10 * GB)
    world.now += HOUR
    expect(await begin(world)).toMatchObject({ why: 'storedGb', until: Date.UTC(2026, 11, 1) })
    expect(world.told).toEqual(['ROCKPOOL_LIMIT storedGb 1', 'ROCKPOOL_LIMIT storedGb 1'])
    world.restart()
    expect(await begin(world)).toMatchObject({ why: 'storedGb' })
    // On the next day it is measured again, and not told again.
    world.now += 12 * HOUR
    expect(await begin(world)).toMatchObject({ why: 'storedGb', until: Date.UTC(2026, 11, 2) })
    expect(world.told).toHaveLength(2)
    expect(await begin(world, budgetOf({ storedGb: { warn: null, refuse: 20 } }))).toBe(null)
    expect(world.usage.check()).toBe(false)
  })

  test('is measured before anybody is refused, because compaction may have made room; within 10 minutes of a measure the pause is as short', async () => {
    const world = new World()
    world.sizes.set('a', 9.5 * GB)
    expect(await begin(world)).toBe(null)
    world.appended = GB
    expect(world.usage.check()).toBe(true)
    const { now } = world
    expect(await begin(world)).toMatchObject({ why: 'storedGb', until: now + HOUR / 6 })
    world.now += HOUR / 6
    expect([await begin(world), world.stored.bytes]).toEqual([null, 9.5 * GB])
  })

  test('of many buckets is measured before several sessions, and one that does not answer does not keep others from it', async () => {
    const world = new World()
    for (let n = 0; n < 1.5 * BUCKETS_A_MEASURE; n++) world.sizes.set(`b${n}`, 1)
    world.sizes.set('b7', new Error('silent'))
    await begin(world)
    expect([world.asked, world.stored.bytes]).toEqual([BUCKETS_A_MEASURE, null])
    world.appended = 1_000
    world.usage.sessionEnded()
    await begin(world)
    expect([world.asked, world.stored.bytes]).toEqual([1.5 * BUCKETS_A_MEASURE, 1.5 * BUCKETS_A_MEASURE - 1 + 1_000])
    for (let n = 0; n <= MOST_FAILURES; n++) world.sizes.set(`b${n}`, new Error('silent'))
    world.now += 25 * HOUR
    const before = world.stored.bytes
    await begin(world)
    expect(world.stored.bytes).toBe(before)
  })
})
