import type { ErrorCode } from '../../../protocol/errors.ts'
import type { ConfigOrigin, ConfigStatus, TableEstimate } from '../../../protocol/messages/admin.ts'
import type { PlanPart } from '../../../sync-config/index.ts'
import type { Plan, RowProgram } from '../../../sync-config/types.ts'
import type { TableName } from '../../../protocol/tables.ts'
import { combinePlans, partsOf } from '../../../sync-config/index.ts'
import { faultPoint } from '../../shared/fault-points.ts'
import type { Configs } from '../store/configs.ts'
import type { Definitions } from '../store/definitions.ts'
import type { Plans } from '../store/plans.ts'
import type { StateStore } from '../store/storage.ts'

export interface DeployPorts {
  /** Runs one transaction. When it fails, the object is reset, because memory may differ from storage. */
  atomically<T>(work: () => T): T
  state: StateStore
  plans: Plans
  configs: Configs
  definitions: Definitions
  /** Returns the hash of the plan of the newest stored batch. */
  serving(): string | null
  /**
   * Returns the hash of the announced plan, which during a hold is the earlier one. Its definitions are evaluated, and
   * its buckets stay.
   */
  served(): string | null
  /** Reads the tables with these names again. */
  copy(names: readonly TableName[]): void
  now?: () => number
}

/** What a plan would change. */
export interface Difference {
  kept: PlanPart[]
  /** Parts of a config that served before, which are still maintained but not served. */
  again: PlanPart[]
  added: PlanPart[]
  removed: PlanPart[]
}

/**
 * Which sync config serves, which is to serve next, and what is evaluated meanwhile: the definitions of these two, and
 * of those that served until recently. A deploy is stored first, and takes effect when the next session begins. Every
 * step is one transaction, so that a crash leaves it either undone or done.
 */
export class Deploys {
  readonly #ports: DeployPorts
  readonly #now: () => number
  /** What source rows become now: under the plan that serves, the next one, and those that served until recently. */
  evaluation: RowProgram = combinePlans([])
  /** What source rows become under the next plan, or under the one that serves when there is none. */
  wanted: RowProgram = combinePlans([])

  constructor(ports: DeployPorts) {
    this.#ports = ports
    this.#now = ports.now ?? Date.now
    this.#adopt()
  }

  /** Returns the plan with the names of its buckets. */
  bind(plan: Plan): Plan {
    return this.#ports.definitions.bind(plan, this.#ports.state.seed())
  }

  /** Compares a plan with what serves, and with what is evaluated anyway. */
  difference(bound: Plan): Difference {
    const { plans, definitions } = this.#ports
    const serving = this.#ports.serving()
    const before = serving === null ? [] : partsOf(plans.load(serving))
    const parts = partsOf(bound)
    const added = new Set(definitions.missing(bound).map(({ hash }) => hash))
    const served = new Set(before.map(({ hash }) => hash))
    return {
      kept: parts.filter(({ hash }) => !added.has(hash) && served.has(hash)),
      again: parts.filter(({ hash }) => !added.has(hash) && !served.has(hash)),
      added: parts.filter(({ hash }) => added.has(hash)),
      removed: before.filter(({ hash }) => !parts.some((part) => part.hash === hash)),
    }
  }

  /**
   * Stores the next config, which replaces an earlier next one. `also` runs in the same transaction. Throws
   * ROCKPOOL_SYNC_CONFIG for a plan that is too large.
   */
  add(
    yaml: string,
    plan: Plan,
    origin: ConfigOrigin,
    {
      copy = [],
      about = {},
      also = () => {},
    }: { copy?: TableEstimate[]; about?: Pick<ConfigStatus, 'by' | 'of'>; also?: () => void } = {},
  ): ConfigStatus {
    const { atomically, plans, configs } = this.#ports
    const hash = plans.store(this.bind(plan))
    return atomically(() => {
      const created = this.#time()
      faultPoint('deploy.add')
      also()
      this.#giveUp()
      const record = { origin, plan: hash, created, retired: null, error: null, copy, ...about }
      if (hash !== this.#ports.serving()) return configs.add({ ...record, state: 'copying', served: null }, yaml)
      // Another text with the same meaning.
      const serving = configs.serving
      if (serving) configs.change(serving.number, { state: 'superseded' })
      return configs.add({ ...record, state: 'serving', served: created }, yaml)
    })
  }

  /** Records a config that cannot be deployed. The same failure of the same text is recorded once. */
  refuse(yaml: string, origin: ConfigOrigin, { code, message }: { code: ErrorCode; message: string }): void {
    const { atomically, configs } = this.#ports
    const { newest } = configs
    if (newest?.state === 'failed' && newest.error?.message === message && configs.text(newest.number) === yaml) return
    atomically(() =>
      configs.add(
        {
          origin,
          plan: null,
          created: this.#time(),
          state: 'failed',
          served: null,
          retired: null,
          error: { code, message },
          copy: [],
        },
        yaml,
      ),
    )
  }

  /** Cancels the deploy in progress, so that the old sync config continues. Returns null when there is none. */
  cancel(): ConfigStatus | null {
    const { atomically, configs } = this.#ports
    const { next } = configs
    if (next) atomically(() => this.#giveUp())
    return next
  }

  /** Marks a deploy that must never serve again, see `Configs.withdrawn`. */
  withdraw(number: number, by: string): void {
    const { atomically, configs } = this.#ports
    atomically(() => {
      if (configs.next?.number === number) this.#giveUp()
      configs.change(number, { withdrawn: { at: this.#time(), by } })
    })
  }

  /** The plan that is being copied, or null when there is none, or when it was cancelled. */
  get next(): string | null {
    const { configs, state } = this.#ports
    const next = configs.next?.plan ?? null
    return next === state.get('next') ? next : null
  }

  /** Returns true when a session should restart: there is a deploy that it does not know, or a grace period is over. */
  due(graceSeconds: number): boolean {
    const { configs, state } = this.#ports
    return (configs.next?.plan ?? null) !== state.get('next') || this.#expired(graceSeconds).length > 0
  }

  /**
   * Decides what is evaluated from now on. Called when a session begins and nothing is in flight. `serial` is the last
   * op id that was used.
   */
  begin(graceSeconds: number, serial: number): void {
    const { state, plans } = this.#ports
    this.evaluation = this.#evaluate(graceSeconds, serial)
    const plan = state.get('next') ?? this.#ports.serving()
    this.wanted = combinePlans(plan === null ? [] : [plans.load(plan)])
  }

  #evaluate(graceSeconds: number, serial: number): RowProgram {
    const { atomically, state, plans, configs, definitions, copy } = this.#ports
    return atomically(() => {
      const next = configs.next?.plan ?? null
      if (next !== state.get('next')) {
        faultPoint('deploy.begin')
        // New definitions see the stream from now on, and existing rows through the copy.
        if (next !== null) copy(definitions.begin(plans.load(next), 'copying'))
        state.set('next', next)
        faultPoint('deploy.begun')
      }
      for (const { number } of this.#expired(graceSeconds)) configs.change(number, { state: 'superseded' })
      const hashes = [this.#ports.serving(), this.#ports.served(), next, ...configs.previous.map(({ plan }) => plan)]
      const evaluated = [...new Set(hashes)].flatMap((hash) => (hash === null ? [] : [plans.load(hash)]))
      if (definitions.keepOnly(evaluated, serial)) {
        faultPoint('deploy.drop')
        state.set('drop', { t: 0, key: '', swept: false })
      }
      plans.keepOnly(new Set([...configs.all.map(({ plan }) => plan), ...hashes].flatMap((plan) => plan ?? [])))
      return combinePlans(evaluated)
    })
  }

  /** Called in the transaction that makes the plan serve. */
  switched(hash: string): void {
    const { state, plans, configs, definitions } = this.#ports
    const time = this.#time()
    const { serving, next } = configs
    if (serving) configs.change(serving.number, { state: 'previous', retired: time })
    for (const { number, plan } of configs.previous) if (plan === hash) configs.change(number, { state: 'superseded' })
    if (next?.plan === hash) configs.change(next.number, { state: 'serving', served: time })
    definitions.complete(plans.load(hash))
    state.set('next', null)
    faultPoint('deploy.switched')
  }

  #giveUp(): void {
    const { next } = this.#ports.configs
    if (next) this.#ports.configs.change(next.number, { state: 'superseded' })
  }

  #expired(graceSeconds: number): ConfigStatus[] {
    const until = this.#now() - graceSeconds * 1_000
    return this.#ports.configs.previous.filter(({ retired }) => retired !== null && Date.parse(retired) <= until)
  }

  /** Records what an earlier version served, which kept no history. */
  #adopt(): void {
    const { atomically, plans, configs, definitions } = this.#ports
    const hash = this.#ports.serving()
    if (hash === null || configs.newest || plans.text(hash) === null) return
    atomically(() => {
      const time = this.#time()
      configs.add(
        {
          origin: 'script',
          plan: hash,
          created: time,
          state: 'serving',
          served: time,
          retired: null,
          error: null,
          copy: [],
        },
        '',
      )
      definitions.begin(plans.load(hash), 'maintained')
    })
  }

  #time(): string {
    return new Date(this.#now()).toISOString()
  }
}
