import { expect, test, vi } from 'vitest'
import { Spending } from '../durable-objects/directory/spending.ts'
import { DirectoryStore } from '../durable-objects/directory/storage.ts'
import { put } from '../durable-objects/directory/decisions.ts'
import { CurrentSession } from '../durable-objects/replicator/current-session.ts'
import { Sessions } from '../durable-objects/replicator/sessions.ts'
import { Usage } from '../durable-objects/replicator/usage.ts'
import { testDatabase } from '../durable-objects/test-database.ts'
import type { DayUsage } from '../protocol/dollars.ts'
import { memoryKind } from '../sources/memory/memory-source.ts'
import { NO_BUDGET } from '../tenants/budget.ts'
import type { OwnTenant } from '../tenants/of-object.ts'
import { tenantChange } from '../tenants/stored/record.ts'
import { keyRing } from '../tenants/stored/seal.ts'
import type { Tenant } from '../tenants/tenant.ts'
import { heldRows, MemoryLoad, SYNC_CONFIG } from './support/memory-load.ts'
import { NodeReplicator } from './support/node-replicator.ts'

// Many tenants that are followed live at the same time, each over a database in memory, and the Directory that hears of
// them. ROCKPOOL_LIVE_TENANTS=1000 is the large form, once on 2026-11-30.

const TENANTS = Number(process.env.ROCKPOOL_LIVE_TENANTS ?? 25)
const ROUNDS = 5
const BUDGET = 1

/** The Directory, and how often it was called. */
class World {
  readonly #db = testDatabase()
  readonly store = new DirectoryStore(this.#db)
  readonly spending = new Spending(this.#db)
  calls = 0

  make(name: string): void {
    const ring = keyRing(`one:${Buffer.alloc(32, 1).toString('base64url')}`)
    const change = tenantChange.parse({ secrets: { DATABASE_URL: `postgres://u:p@${name}.example/app` } })
    const asked = { name, change, ifMatch: null, reuse: false, by: 'op', identities: [], scripts: null }
    put(this.store, ring, { ...asked, place: { location: null, jurisdiction: null } }, new Date())
  }

  heard(name: string, due: number, usage: DayUsage) {
    this.calls++
    this.store.heard(name, due)
    return this.spending.report(name, usage, BUDGET, Date.now())
  }
}

class Live extends MemoryLoad {
  readonly replicator: NodeReplicator
  readonly current = new CurrentSession()
  readonly usage: Usage
  readonly sessions: Sessions
  alarm: number | null = null
  written = 0

  constructor(name: string, seed: number, world: World) {
    super(seed)
    const kind = memoryKind(() => this.database)
    this.replicator = new NodeReplicator({ kind, syncConfig: SYNC_CONFIG, settings: { sessionSeconds: 600 } })
    this.replicator.isLive = true
    const { state, diagnostics } = this.replicator.parts.store
    this.usage = new Usage({
      tenant: name,
      state,
      diagnostics,
      written: () => ({ rows: this.written, appends: 0 }),
      now: Date.now,
      report: () => this.sessions.report(),
      stored: { bytes: null, measured: null, goodUntil: 0, measure: async () => false, note: () => {} },
    })
    const tenant: OwnTenant = {
      name,
      find: async () => ({ name, version: '1', replication: this.replicator.settings, budget: NO_BUDGET }) as Tenant,
      secret: vi.fn().mockResolvedValue('memory://app'),
      compaction: () => Promise.reject(new Error('nothing is compacted')),
      confirm: async () => {},
      heard: async (due, usage) => world.heard(name, due, usage),
      former: async () => [],
      left: async () => {},
      changed: () => {},
    }
    this.sessions = new Sessions({
      usage: this.usage,
      look: async () => {},
      parts: this.replicator.parts,
      current: this.current,
      storage: {
        getAlarm: async () => this.alarm,
        setAlarm: async (at) => void (this.alarm = at),
        deleteAlarm: async () => void (this.alarm = null),
        sync: async () => {},
      },
      resetReason: null,
      tenant: () => tenant,
      kindOf: () => kind,
      isElsewhere: () => false,
      isLive: () => this.replicator.isLive,
      former: { leave: async () => {} },
      settled: async () => {},
    })
    this.sessions.start()
    // Of this tenant alone.
    this.database.commit({ op: 'insert', table: OWN, row: { id: name, v: name } })
  }

  get isStreaming(): boolean {
    return this.current.status()?.streaming === true
  }

  get held(): string[] {
    return heldRows(this.replicator.objects())
  }
}

const OWN = { schema: 'public', name: 'others', columns: ['id', 'v'], key: ['id'] }

test(`${TENANTS} tenants are live at a time: each has its rows and no other's, and the Directory is called when a session begins and ends`, async () => {
  const world = new World()
  const names = Array.from({ length: TENANTS }, (_, n) => `tenant-${n}`)
  for (const name of names) world.make(name)
  const before = process.memoryUsage().heapUsed
  const tenants = names.map((name, n) => new Live(name, n + 1, world))
  const began = performance.now()
  const running = tenants.map((tenant) => tenant.sessions.alarm())
  const waiting = { timeout: 240_000, interval: 50 }
  await vi.waitFor(() => expect(tenants.filter((tenant) => !tenant.isStreaming)).toHaveLength(0), waiting)
  const liveAfter = performance.now() - began
  expect(world.calls).toBe(TENANTS)

  const changing = performance.now()
  for (let round = 0; round < ROUNDS; round++) for (const tenant of tenants) tenant.load()
  const lacking = (tenant: Live) => JSON.stringify(tenant.held) !== JSON.stringify(tenant.rows())
  await vi.waitFor(() => expect(tenants.filter(lacking)).toHaveLength(0), waiting)
  const bytes = (process.memoryUsage().heapUsed - before) / TENANTS
  console.log(
    `${TENANTS} live tenants: live after ${(liveAfter / 1_000).toFixed(1)} s, ${ROUNDS} transactions of each at its buckets after ${((performance.now() - changing) / 1_000).toFixed(1)} s, ${Math.round(bytes / 1024)} KB of heap each`,
  )
  for (const [n, tenant] of tenants.entries()) {
    expect(tenant.held.filter((row) => row.includes('tenant-'))).toEqual([expect.stringContaining(`"tenant-${n}"`)])
    expect(tenant.replicator.resets).toEqual([])
  }
  // Changes cost no call, and nobody is overdue before a session should be over.
  expect(world.calls).toBe(TENANTS)
  expect(world.store.overdue(Date.now() + 600_000, TENANTS)).toEqual([])
  expect(world.store.overdue(Date.now() + 3_600_000, TENANTS)).toHaveLength(TENANTS)

  // One of them uses the budget of all. Of the others nobody notices.
  const [hog, ...others] = tenants
  if (hog) {
    hog.written = 950_000
    hog.usage.check()
  }
  await running[0]
  expect(hog?.usage.paused).toMatchObject({ why: 'deployment' })
  for (const other of others) other.load()
  await vi.waitFor(() => expect(others.filter(lacking)).toHaveLength(0), waiting)
  expect(others.filter(({ usage, isStreaming }) => usage.paused !== null || !isStreaming)).toEqual([])

  for (const tenant of tenants) {
    tenant.replicator.isLive = false
    tenant.current.session?.restart()
  }
  await Promise.all(running)
  // Its beginning and its end; of the one that was paused also the report that paused it.
  expect(world.calls).toBe(2 * TENANTS + 1)
}, 600_000)
