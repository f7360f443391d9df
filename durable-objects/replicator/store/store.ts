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
import { RowStates } from './row-state.ts'
import { servedOf } from './served.ts'
import { MIGRATIONS, StateStore, STRONG_STEPS } from './storage.ts'
import { Tables } from './tables.ts'

export interface StorePorts {
  /** Memory and storage may differ: whatever is in memory must be thrown away and read from storage again. */
  reset(error: unknown): void
  /** Whether a plan reads a table that goes by one of these names. Absent: the stored plans say it. */
  reads?(plan: string | null, names: readonly TableName[]): boolean
}

/** All that is durable of one tenant's replicator, and the one way to change several parts of it together. */
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
  readonly #ports: StorePorts
  readonly #planTables: PlanTables

  /** Throws ROCKPOOL_STORAGE_NEWER. */
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
    this.configs = new Configs(db)
    this.definitions = new Definitions(db)
    const dropped = new DroppedBuckets(this.state, this.definitions, this.buckets)
    this.rows = new RowStates(db, (bucket) => dropped.has(bucket))
    this.tables = new Tables(db)
    this.outbox = new Outbox(db, this.state.get('commit').batch)
    const newest = this.outbox.newest()
    if (newest?.decode) this.state.found(newest.decode)
    if (this.state.ofOlder || newest?.ofOlder) this.#takeOver(steps >= STRONG_STEPS)
  }

  /** What is announced: what is committed, or what is held. */
  get serving(): Serving {
    return servedOf(this.state.get('commit'))
  }

  /** The plan of the newest batch that is stored, committed or not. */
  get planStored(): string | null {
    const plan = this.outbox.plan
    return plan === undefined ? this.state.get('commit').plan : plan
  }

  /** Orders what relays and followed buckets say of themselves. One row written. */
  nextSerial(): number {
    const serial = this.state.get('serial') + 1
    this.state.set('serial', serial)
    return serial
  }

  /** The whole names of all buckets that lack ops. */
  get fencedNames(): string[] {
    return this.fences.all.map(({ bucket }) => this.buckets.name(bucket))
  }

  isFenced(bucket: string): boolean {
    return this.fencedNames.includes(bucket)
  }

  reads(plan: string | null, names: readonly TableName[]): boolean {
    return this.#ports.reads ? this.#ports.reads(plan, names) : this.#planTables.reads(plan, names)
  }

  /** The last problems; those of sync configs that were replaced are marked. */
  get problems(): DiagnosticsStatus {
    return this.diagnostics.status((of) => this.servesNobody(of))
  }

  /** Whether it is of sync configs alone that neither serve nor are to serve. */
  servesNobody(of: ProblemOf): boolean {
    const plans = [this.planStored, this.state.get('next')].filter((plan) => plan !== null)
    const has = (plan: string) => ('definition' in of ? this.#planTables.has(plan, of.definition) : this.reads(plan, of.names))
    return plans.length > 0 && !plans.some(has)
  }

  /** Whether clients have something of a table, now or as soon as everything stored is committed. */
  isServed(names: readonly TableName[]): boolean {
    return this.reads(this.planStored, names) || this.reads(this.serving.plan, names)
  }

  /** Whether what is stored of such tables may be no state of the source. */
  get isDoubtful(): boolean {
    return this.tables.doubtful((names) => this.isServed(names))
  }

  /** Whether rows lack values that clients of this plan would see. */
  lacks(plan: string | null): boolean {
    return this.tables.lacks((names) => this.reads(plan, names))
  }

  /** How much of a comparison is done, 0 to 1. */
  get compared(): number {
    return this.tables.compared((names) => this.isServed(names))
  }

  /** One transaction. An object whose memory may differ from storage is reset. */
  atomically<T>(work: () => T): T {
    return this.orReset(() => this.db.transaction(work))
  }

  /** Does something after which memory differs from storage when it fails. */
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
   * What an older release has stored is stored anew, so that this is known only once. `again`: it ran on what this one had stored. Then it has given numbers of write
   * checkpoints to mailboxes that nobody reads here, so they are looked at as if for the first time; and it took rows away under subkeys that this release
   * had not given them, so they are there still.
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
