import type { DiagnosticsStatus } from '../../../protocol/diagnostics.ts'
import type { Serving } from '../../../protocol/messages/replicator.ts'
import type { TableName } from '../../../protocol/tables.ts'
import { migrate, type Database } from '../../shared/database.ts'
import { Buckets } from './buckets.ts'
import { Configs } from './configs.ts'
import { Definitions } from './definitions.ts'
import { Diagnostics, type ProblemOf } from './diagnostics.ts'
import { DroppedBuckets } from './dropped-buckets.ts'
import { Fences } from './fences.ts'
import { Outbox } from './outbox.ts'
import { Plans, PlanTables } from './plans.ts'
import { Revocations } from './revocations.ts'
import { RowStates } from './row-state.ts'
import { servedOf } from './served.ts'
import { MIGRATIONS, StateStore, STRONG_STEPS } from './storage.ts'
import { Tables } from './tables.ts'

export interface StorePorts {
  /** Called when memory and storage may differ: everything in memory must be discarded and read from storage again. */
  reset(error: unknown): void
  /** Returns true when a plan reads a table with one of these names. By default the stored plans decide. */
  reads?(plan: string | null, names: readonly TableName[]): boolean
}

/** Everything durable of a tenant's replicator, and the one way to change several parts together. */
export class Store {
  readonly db: Database
  readonly state: StateStore
  readonly diagnostics: Diagnostics
  readonly plans: Plans
  readonly buckets: Buckets
  readonly configs: Configs
  readonly definitions: Definitions
  readonly rows: RowStates
  readonly tables: Tables
  readonly outbox: Outbox
  readonly fences: Fences
  readonly revocations: Revocations
  readonly #ports: StorePorts
  readonly #planTables: PlanTables

  /** Throws ROCKPOOL_STORAGE_NEWER when newer code has written the storage. */
  constructor(db: Database, ports: StorePorts) {
    this.db = db
    this.#ports = ports
    const steps = migrate(db, MIGRATIONS)
    this.state = new StateStore(db)
    this.diagnostics = new Diagnostics(db)
    this.plans = new Plans(db)
    this.#planTables = new PlanTables(this.plans)
    this.buckets = new Buckets(db)
    this.fences = new Fences(this.state)
    this.fences.keepOnly((bucket) => this.buckets.has(bucket))
    this.revocations = new Revocations(db, this.state)
    this.configs = new Configs(db)
    this.definitions = new Definitions(db)
    const dropped = new DroppedBuckets(this.state, this.definitions, this.buckets)
    this.rows = new RowStates(db, (bucket) => dropped.has(bucket))
    this.tables = new Tables(db)
    this.outbox = new Outbox(db, this.state.get('commit').batch)
    const newest = this.outbox.newest()
    if (newest?.decode) this.state.restoreDecode(newest.decode)
    if (this.state.ofOlder || newest?.ofOlder) this.#takeOver(steps >= STRONG_STEPS)
  }

  /** What is announced: the commit, or during a hold what is held. */
  get serving(): Serving {
    return servedOf(this.state.get('commit'))
  }

  /** The plan of the newest stored batch, committed or not. */
  get planStored(): string | null {
    const plan = this.outbox.plan
    return plan === undefined ? this.state.get('commit').plan : plan
  }

  /** Returns a number that orders the registrations of relays and followed buckets. Writes one row. */
  nextSerial(): number {
    const serial = this.state.get('serial') + 1
    this.state.set('serial', serial)
    return serial
  }

  /** The whole names of all fenced buckets. */
  get fencedNames(): string[] {
    return this.fences.all.map(({ bucket }) => this.buckets.name(bucket))
  }

  isFenced(bucket: string): boolean {
    return this.fencedNames.includes(bucket)
  }

  reads(plan: string | null, names: readonly TableName[]): boolean {
    return this.#ports.reads ? this.#ports.reads(plan, names) : this.#planTables.reads(plan, names)
  }

  /** The last problems. Those of replaced sync configs are marked. */
  get problems(): DiagnosticsStatus {
    return this.diagnostics.status((of) => this.servesNobody(of))
  }

  /** Returns true when a problem concerns only sync configs that neither serve nor are to serve. */
  servesNobody(of: ProblemOf): boolean {
    const plans = [this.planStored, this.state.get('next')].filter((plan) => plan !== null)
    const has = (plan: string) =>
      'definition' in of ? this.#planTables.has(plan, of.definition) : this.reads(plan, of.names)
    return plans.length > 0 && !plans.some(has)
  }

  /** Returns true when clients have rows of a table, now or as soon as everything stored is committed. */
  isServed(names: readonly TableName[]): boolean {
    return this.reads(this.planStored, names) || this.reads(this.serving.plan, names)
  }

  /** True when the stored rows of such tables may not be a state of the source. */
  get isDoubtful(): boolean {
    return this.tables.doubtful((names) => this.isServed(names))
  }

  /** Returns true when rows lack values that clients of this plan would see. */
  lacks(plan: string | null): boolean {
    return this.tables.lacks((names) => this.reads(plan, names))
  }

  /** The progress of a comparison, 0 to 1. */
  get compared(): number {
    return this.tables.compared((names) => this.isServed(names))
  }

  /** Runs one transaction. When it fails, memory may differ from storage, and the object is reset. */
  atomically<T>(work: () => T): T {
    return this.orReset(() => this.db.transaction(work))
  }

  /** Runs `work`, and resets the object when it fails, because memory then differs from storage. */
  orReset<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      this.reset(error)
      throw error
    }
  }

  reset(error: unknown): void {
    this.#ports.reset(error)
  }

  /**
   * Stores what an older release has stored once more, so that this happens once. With `again`, the older release ran
   * on storage of this one. Then it put numbers of write checkpoints into mailboxes that nobody reads here, so they are
   * processed as if for the first time; and it removed rows under subkeys that this release had not given them, so
   * those rows are still there.
   */
  #takeOver(again: boolean): void {
    const { state } = this
    this.atomically(() => {
      state.set('commit', state.get('commit'))
      state.set('running', state.get('running'))
      if (!again) return
      state.set('round', null)
      state.set('returned', true)
    })
  }
}
