import { DurableObject } from 'cloudflare:workers'
import { z } from 'zod'
import { RockpoolError } from '../../protocol/errors.ts'
import type {
  Allowance,
  Asker,
  AuditEntry,
  DirectoryRpc,
  NamesAnswer,
  OverdueTenant,
  PutRequest,
  RecordAnswer,
  RevocationOutcome,
  SetStateRequest,
  Spent,
  TenantJob,
} from '../../protocol/messages/directory.ts'
import type { DayUsage } from '../../protocol/dollars.ts'
import type { ReplicatorRpc, RevocationChange } from '../../protocol/messages/replicator.ts'
import { MESSAGE_VERSION, type Versioned } from '../../protocol/versions.ts'
import { budgetDollars } from '../../tenants/budget-dollars.ts'
import { lateMs } from '../../tenants/late.ts'
import { hasScriptTenant, standsBeside } from '../../tenants/script.ts'
import { tenantChange } from '../../tenants/stored/record.ts'
import { keyRing, type KeyRing } from '../../tenants/stored/seal.ts'
import type { Environment } from '../environment.ts'
import { censusOf } from '../census/calls.ts'
import { durableDatabase } from '../shared/durable-database.ts'
import { replicatorStub, type Placed } from '../shared/namespaces.ts'
import { objectName } from '../shared/object-name.ts'
import { placementOf } from '../shared/placement.ts'
import { answered, callDeadline } from '../shared/retry.ts'
import { checkVersion } from '../shared/version.ts'
import { asker, bury, left, put, rekey, revoke, setState } from './decisions.ts'
import { shownJob, step, type JobPorts } from './jobs.ts'
import { Spending } from './spending.ts'
import { DirectoryStore } from './storage.ts'
import { tell } from './telling.ts'
import { Untold } from './untold.ts'

const identities = z.array(
  z.object({ key: z.string(), audiences: z.array(z.string()), issuers: z.array(z.string()).nullable() }),
)
const state = z.enum(['active', 'suspended', 'deleting'])
const MAX_AUDIT_PAGE = 1_000
/** Tenants that one answer about what was used names. */
const MAX_SPENT = 1_000
/** Tenants that one question of the cron trigger names. */
const MAX_OVERDUE = 1_000
/** Runs of the cron trigger in which all tenants are woken after a break; there is one more a minute later. */
const BREAK_RUNS = 6
/** Jobs that one alarm continues. */
const JOBS_AT_ONCE = 10
/** How long one step may take: it waits for relays, for buckets or for the database. */
const STEP_MS = 30_000
/** How long a replicator may take to tell all relays and followed buckets of one revocation. */
const TELLING_MS = 25_000

/**
 * All tenants of a deployment: who they are, their settings and encrypted secrets, and what no two of them may share.
 * It wires storage, decisions and RPC. The file is long because it is the list of all calls.
 */
export class Directory extends DurableObject<Environment> implements DirectoryRpc {
  readonly #store: DirectoryStore
  readonly #untold: Untold
  readonly #spending: Spending
  /** The last turn of each tenant that is told of revocations: one goes on after the other. */
  readonly #turns = new Map<string, Promise<unknown>>()
  /** Tenants of which a step is under way. */
  readonly #stepping = new Set<string>()

  constructor(ctx: DurableObjectState, env: Environment) {
    super(ctx, env)
    objectName(ctx)
    const db = durableDatabase(ctx.storage)
    this.#store = new DirectoryStore(db)
    this.#untold = new Untold(db)
    this.#spending = new Spending(db)
    // An alarm whose handler was ended again and again is dropped by the platform; what is due is not.
    if (this.#nextDue !== null) void this.#arm()
  }

  async names(request: Versioned & { revision?: number }): Promise<NamesAnswer> {
    checkVersion(request)
    const { revision, named } = this.#store
    const adopted = this.#store.adopted && !standsBeside(this.env)
    return { revision, tenants: request.revision === revision ? null : [...named.values()], adopted }
  }

  async record(request: Versioned & { name: string; version?: number }): Promise<RecordAnswer> {
    checkVersion(request)
    const named = this.#store.named.get(request.name)
    if (!named) return { kind: 'none' }
    if (named.version === request.version) return { kind: 'same' }
    const found = this.#store.find(request.name)
    return found ? { kind: 'record', record: JSON.stringify(found.record), sealed: found.sealed } : { kind: 'none' }
  }

  async put(request: PutRequest): Promise<{ record: string; created: boolean }> {
    checkVersion(request)
    const change = tenantChange.parse(JSON.parse(request.change))
    const asked = {
      ...request,
      change,
      identities: identities.parse(JSON.parse(request.identities)),
      place: placementOf(this.env),
      scripts: standsBeside(this.env) ? ('beside' as const) : hasScriptTenant(this.env) ? ('first' as const) : null,
    }
    const { record, created } = put(this.#store, this.#ring, asked, new Date())
    return { record: JSON.stringify(record), created }
  }

  async setState(request: SetStateRequest): Promise<{ record: string; job: TenantJob | null }> {
    checkVersion(request)
    const record = JSON.stringify(setState(this.#store, { ...request, state: state.parse(request.state) }, new Date()))
    // An operator who lets a tenant go on means it, whatever the budget.
    const budget = budgetDollars(this.env)
    if (request.state === 'active' && budget !== null) this.#spending.spare(request.name, budget, Date.now())
    // In case this call is ended before it has done what follows.
    await this.ctx.storage.setAlarm(Date.now() + STEP_MS)
    await this.#advance(request.name)
    await this.#arm()
    return { record, job: this.#shown(request.name) }
  }

  async heard(request: Versioned & { name: string; due: number; usage?: DayUsage }): Promise<Allowance> {
    checkVersion(request)
    const { name, due, usage } = request
    this.#store.heard(name, due)
    const budget = budgetDollars(this.env)
    if (usage === undefined || budget === null) return { pausedUntil: null }
    const { pausedUntil, chosen, reached, dollars } = this.#spending.report(name, usage, budget, Date.now())
    if (reached !== null) console.error(JSON.stringify({ event: 'budget', percent: reached, dollars, budget }))
    if (chosen !== null) {
      console.error(JSON.stringify({ event: 'budget', paused: chosen, dollars, budget }))
      const details = `${dollars.toFixed(2)} of ${budget} dollars are used up`
      this.#store.note({ at: new Date().toISOString(), by: 'budget', action: 'pause', tenant: chosen, details })
    }
    return { pausedUntil }
  }

  async spent(request: Versioned & { limit: number }): Promise<Spent> {
    checkVersion(request)
    return this.#spending.show(budgetDollars(this.env), Date.now(), Math.min(request.limit, MAX_SPENT))
  }

  async overdue(request: Versioned & { limit: number }): Promise<OverdueTenant[]> {
    checkVersion(request)
    const now = Date.now()
    // After a break all tenants are due within minutes.
    const most = this.#store.cronRan(now) ? Math.ceil(this.#store.named.size / BREAK_RUNS) : 0
    return this.#store.overdue(now, Math.max(Math.min(request.limit, MAX_OVERDUE), most))
  }

  async left(request: Versioned & { name: string; id: string }): Promise<void> {
    checkVersion(request)
    left(this.#store, request)
  }

  async job(request: Versioned & { name: string }): Promise<TenantJob | null> {
    checkVersion(request)
    return this.#shown(request.name)
  }

  /** Continues what is due. A job has one step at a time, and those of several tenants go on side by side. */
  override async alarm(): Promise<void> {
    await this.ctx.storage.setAlarm(Date.now() + STEP_MS)
    const now = Date.now()
    await Promise.all([
      ...this.#store.dueJobs(now, JOBS_AT_ONCE).map((name) => this.#advance(name)),
      ...this.#untold.due(now, JOBS_AT_ONCE).map((tenant) => this.#tell(tenant, null)),
    ])
    await this.#arm()
  }

  async revoke(
    request: Versioned & Omit<Asker, 'by'> & { name: string; change: RevocationChange },
  ): Promise<RevocationOutcome> {
    checkVersion(request)
    const { name } = request
    const turn = this.#tell(name, revoke(this.#store, this.#untold, request, new Date()))
    // In case this call is ended before it has done what follows.
    await this.ctx.storage.setAlarm(Date.now() + STEP_MS)
    try {
      return await turn
    } finally {
      await this.#arm()
    }
  }

  async untold(request: Versioned & { name: string }): Promise<{ changes: RevocationChange[]; error: string | null }> {
    checkVersion(request)
    const changes = this.#untold.list(request.name, MAX_AUDIT_PAGE).map(({ change }) => change)
    return { changes, error: this.#untold.failed(request.name)?.error || null }
  }

  /** Tells the replicator of a tenant of its revocations: up to the one that an operator waits for, or all. */
  #tell(tenant: string, own: number | null): Promise<RevocationOutcome> {
    const ask = this.#callsOf(tenant)
    const v = MESSAGE_VERSION
    const ports = {
      untold: this.#untold,
      revoke: (change: RevocationChange) => ask((replicator) => replicator.revoke({ v, ...change }), TELLING_MS),
      now: Date.now,
    }
    const before = this.#turns.get(tenant) ?? Promise.resolve()
    const turn = before.catch(() => {}).then(() => tell({ tenant, own }, ports))
    this.#turns.set(tenant, turn)
    const over = () => {
      if (this.#turns.get(tenant) === turn) this.#turns.delete(tenant)
    }
    turn.then(over, over)
    return turn
  }

  /** When something is due next: ms since 1970, or null. */
  get #nextDue(): number | null {
    const due = [this.#store.nextJob, this.#untold.nextDue].filter((each) => each !== null)
    return due.length === 0 ? null : Math.min(...due)
  }

  #shown(name: string): TenantJob | null {
    const job = this.#store.job(name)
    return job && shownJob(job)
  }

  /** Sets the alarm for the next step. */
  async #arm(): Promise<void> {
    const next = this.#nextDue
    if (next === null) await this.ctx.storage.deleteAlarm()
    else await this.ctx.storage.setAlarm(Math.max(Date.now(), next))
  }

  /**
   * Does the next step of a tenant's job, unless one is under way. Another state may be asked for meanwhile: then its
   * job stands, and the result of this step is of no use.
   */
  async #advance(name: string): Promise<void> {
    const job = this.#store.job(name)
    if (job === null || this.#stepping.has(name)) return
    this.#stepping.add(name)
    try {
      const next = await step(job, this.#portsOf(name))
      const now = this.#store.job(name)
      if (now === null || now.since !== job.since || now.state !== job.state) return
      if (next !== null) this.#store.setJob(name, { ...next, keepSource: now.keepSource })
      else if (job.state === 'deleting') {
        bury(this.#store, { name, ...asker(job) }, new Date())
        this.#spending.forget(name)
      } else this.#store.setJob(name, null)
      if (next?.error) console.warn(`the tenant ${name}: ${next.phase} failed`, next.error)
    } finally {
      this.#stepping.delete(name)
    }
  }

  /** The tenant's place; that of the script when the record says none. */
  #placed(name: string): Placed {
    return { name, place: this.#store.find(name)?.record.place ?? placementOf(this.env) }
  }

  #callsOf(name: string) {
    const placed = this.#placed(name)
    return <T>(call: (replicator: ReplicatorRpc) => Promise<T>, deadlineMs = callDeadline(this.env)): Promise<T> =>
      answered(() => call(replicatorStub(this.env, placed)), deadlineMs)
  }

  #portsOf(name: string): JobPorts {
    const ask = this.#callsOf(name)
    const v = MESSAGE_VERSION
    return {
      standing: async (state, version) => {
        const tell = () => ask((replicator) => replicator.standing({ v, state, version }), STEP_MS)
        // A change ends the object, and the first call with it.
        await tell().catch(tell)
      },
      revoke: async () => {
        const { error } = await this.#tell(name, null)
        if (error !== null) throw new Error(`revocations could not be told: ${error}`)
      },
      leaveSource: () => ask((replicator) => replicator.leaveSource({ v }), STEP_MS),
      removeBuckets: (after) => ask((replicator) => replicator.removeBuckets({ v, after }), STEP_MS),
      eraseCensus: async () => censusOf(this.env, this.#placed(name), callDeadline(this.env))?.erase(),
      eraseAll: () => ask((replicator) => replicator.eraseAll({ v })),
      now: Date.now,
      lateMs: lateMs(this.env),
    }
  }

  async rekey(request: Versioned & Asker & { after: string }): Promise<{ rekeyed: number; next: string | null }> {
    checkVersion(request)
    if (request.after === '')
      this.#store.note({ at: new Date().toISOString(), ...asker(request), action: 'rekey', tenant: '' })
    return rekey(this.#store, this.#ring, request.after)
  }

  async audit(request: Versioned & { before?: number; limit: number }): Promise<AuditEntry[]> {
    checkVersion(request)
    return this.#store.audit(request.before ?? Number.MAX_SAFE_INTEGER, Math.min(request.limit, MAX_AUDIT_PAGE))
  }

  /** Throws ROCKPOOL_SETTINGS. */
  get #ring(): KeyRing {
    const { TENANT_KEYS } = this.env
    if (typeof TENANT_KEYS === 'string' && TENANT_KEYS !== '') return keyRing(TENANT_KEYS)
    throw new RockpoolError('ROCKPOOL_SETTINGS', 'settings are missing or wrong: TENANT_KEYS: is not set')
  }
}
