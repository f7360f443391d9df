import { expect, test } from 'vitest'
import { migrate } from '../shared/database.ts'
import { testDatabase } from '../test-database.ts'
import { Spending } from './spending.ts'
import { MIGRATIONS } from './storage.ts'

// A budget of 100 dollars. A million rows are one dollar.

const BUDGET = 100
const MIDNIGHT = Date.UTC(2026, 11, 1)
const MINUTE = 60_000

class World {
  readonly db = testDatabase()
  now = Date.UTC(2026, 10, 30, 12)
  budget = BUDGET
  spending: Spending
  /** What each tenant has used, in dollars, as it counts. */
  readonly used = new Map<string, number>()

  constructor() {
    migrate(this.db, MIGRATIONS)
    this.spending = new Spending(this.db)
  }

  get day(): string {
    return new Date(this.now).toISOString().slice(0, 10)
  }

  /** The tenant has used so much more, and reports. */
  use(tenant: string, dollars: number) {
    this.used.set(tenant, (this.used.get(tenant) ?? 0) + dollars)
    return this.report(tenant)
  }

  report(tenant: string) {
    const rows = Math.round((this.used.get(tenant) ?? 0) * 1e6)
    return this.spending.report(tenant, { day: this.day, rows, requests: 0, awakeMs: 0 }, this.budget, this.now)
  }

  restart(): void {
    this.spending = new Spending(this.db)
  }

  get shown() {
    const { dollars, tenants } = this.spending.show(this.budget, this.now, 100)
    return { dollars, paused: tenants.filter(({ paused }) => paused).map(({ name }) => name) }
  }
}

test('what tenants report is added up, once, whatever is repeated, lost or comes after a restart', () => {
  const world = new World()
  world.use('a', 10)
  world.use('b', 5)
  world.report('a')
  world.used.set('a', 12)
  world.restart()
  world.report('a')
  expect(world.shown.dollars).toBe(17)
  // A replicator was ended before it had stored what it counted: it counts on from less.
  world.used.set('a', 11)
  world.report('a')
  expect(world.shown.dollars).toBe(17)
  world.use('a', 2)
  expect(world.shown.dollars).toBe(19)
  expect(world.spending.show(BUDGET, world.now, 1).tenants).toEqual([
    { name: 'a', dollars: 14, lately: 14, paused: false },
  ])
})

test('a report that could not be stored is none', () => {
  const world = new World()
  world.use('a', 10)
  const { db } = world
  const spending = new Spending({
    ...db,
    run: (sql, ...params) => {
      if (sql.includes('INSERT OR REPLACE INTO spending ')) throw new Error('the disk is full')
      db.run(sql, ...params)
    },
  })
  const usage = { day: world.day, rows: 30e6, requests: 0, awakeMs: 0 }
  expect(() => spending.report('a', usage, BUDGET, world.now)).toThrow('the disk is full')
  expect(spending.show(BUDGET, world.now, 1).dollars).toBe(10)
})

test('rows, requests and time that sessions run have their prices', () => {
  const world = new World()
  const usage = { day: world.day, rows: 1_000_000, requests: 1_000_000, awakeMs: 3_600_000 }
  expect(world.spending.report('a', usage, BUDGET, world.now).dollars).toBeCloseTo(1 + 0.15 + 0.00576, 5)
})

test('each part of the budget is told once a day', () => {
  const world = new World()
  const told: (number | null)[] = []
  for (let n = 0; n < 12; n++) {
    told.push(world.use(`t${n}`, 10).reached)
    world.restart()
  }
  expect(told).toEqual([null, null, null, null, 50, null, null, 80, 90, 100, null, null])
})

test('at 90 percent the one is paused that used most lately, not the one that used most, and it alone', () => {
  const world = new World()
  world.use('old', 50)
  world.now += 3 * 60 * MINUTE
  world.use('hog', 25)
  world.use('small', 1)
  expect(world.use('small', 13)).toMatchObject({ chosen: null, pausedUntil: null })
  // The report of another one reaches it.
  expect(world.use('other', 2)).toMatchObject({ chosen: 'hog', reached: 90, pausedUntil: null })
  expect(world.report('hog')).toMatchObject({ pausedUntil: MIDNIGHT, chosen: null })
  // What it had used before it learned of it pauses nobody else.
  expect(world.use('hog', 5)).toMatchObject({ pausedUntil: MIDNIGHT, chosen: null })
  expect(world.use('other', 0.5)).toMatchObject({ pausedUntil: null, chosen: null })
  expect(world.shown.paused).toEqual(['hog'])
  world.restart()
  expect(world.shown.paused).toEqual(['hog'])
})

test('after each further percent the next one follows, and at the end of the budget all are paused', () => {
  const world = new World()
  for (const name of ['a', 'b', 'c', 'd']) world.use(name, 22)
  expect(world.use('b', 2)).toMatchObject({ chosen: 'b', pausedUntil: MIDNIGHT })
  expect(world.use('a', 0.5)).toMatchObject({ chosen: null })
  expect(world.use('a', 0.5)).toMatchObject({ chosen: 'a', pausedUntil: MIDNIGHT })
  expect(world.use('c', 9)).toMatchObject({ chosen: 'c', reached: 100, pausedUntil: MIDNIGHT })
  expect(world.report('d')).toMatchObject({ pausedUntil: MIDNIGHT })
  expect(world.use('new', 0)).toMatchObject({ pausedUntil: MIDNIGHT })
})

test('one that an operator lets go on goes on for the day, and no other is paused for what it uses then', () => {
  const world = new World()
  world.use('innocent', 1)
  expect(world.use('hog', 91)).toMatchObject({ chosen: 'hog', pausedUntil: MIDNIGHT })
  world.spending.spare('innocent', BUDGET, world.now)
  world.spending.spare('hog', BUDGET, world.now)
  expect(world.use('hog', 500)).toMatchObject({ pausedUntil: null, chosen: null })
  expect(world.use('innocent', 0.5)).toMatchObject({ pausedUntil: null, chosen: null })
  // It was not paused, so it has no such right.
  expect(world.use('innocent', 1)).toMatchObject({ pausedUntil: MIDNIGHT, chosen: 'innocent' })
  world.now = MIDNIGHT
  world.used.clear()
  expect(world.use('hog', 95)).toMatchObject({ chosen: 'hog', pausedUntil: MIDNIGHT + 86_400_000 })
})

test('with a larger budget those that were paused go on, and may be paused again', () => {
  const world = new World()
  world.use('hog', 95)
  expect(world.report('hog')).toMatchObject({ pausedUntil: MIDNIGHT })
  world.budget = 200
  expect(world.report('hog')).toMatchObject({ pausedUntil: null })
  expect(world.use('other', 90)).toMatchObject({ chosen: 'hog', pausedUntil: null })
  expect(world.report('hog')).toMatchObject({ pausedUntil: MIDNIGHT })
})

test('a day begins at nothing, and a report of another day is none', () => {
  const world = new World()
  world.use('hog', 95)
  world.now = MIDNIGHT
  const late = { day: '2026-11-30', rows: 1e8, requests: 0, awakeMs: 0 }
  expect(world.spending.report('hog', late, BUDGET, world.now)).toMatchObject({ pausedUntil: null, dollars: 0 })
  world.used.clear()
  expect(world.use('hog', 1)).toEqual({ pausedUntil: null, chosen: null, reached: null, dollars: 1 })
})

test('what a deleted tenant used stays used, and one of its name begins at nothing', () => {
  const world = new World()
  world.use('acme', 95)
  world.spending.forget('acme')
  world.used.clear()
  expect(world.use('acme', 0.5)).toMatchObject({ pausedUntil: null })
  expect(world.shown.dollars).toBe(95.5)
  // On the next day nothing is left of one that is not there.
  world.now = MIDNIGHT
  expect(world.shown.dollars).toBe(0)
  expect(world.db.all('SELECT * FROM spending')).toEqual([])
})

test('a report costs one row, and reads no more the more tenants there are', () => {
  const world = new World()
  for (let n = 0; n < 1_000; n++) world.use(`t${n}`, 0.01)
  const statements: string[] = []
  const { db } = world
  const spending = new Spending({
    ...db,
    all: (sql, ...params) => {
      statements.push(sql)
      return db.all(sql, ...params)
    },
    run: (sql, ...params) => {
      statements.push(sql)
      db.run(sql, ...params)
    },
  })
  const usage = { day: world.day, rows: 1, requests: 0, awakeMs: 0 }
  spending.report('t0', usage, BUDGET, world.now)
  statements.length = 0
  spending.report('t0', { ...usage, rows: 20_000 }, BUDGET, world.now)
  expect(statements.map((sql) => sql.trim().split(/\s+/, 1)[0])).toEqual(['SELECT', 'INSERT'])
  expect(db.plan(statements[0] ?? '')).toContain('USING PRIMARY KEY')
})
