import { RockpoolError } from '../../../protocol/errors.ts'
import type {
  ConfigsAnswer,
  DeployAnswer,
  DeployRequest,
  DeployStatus,
  RollbackAnswer,
  TableCopyStatus,
} from '../../../protocol/messages/admin.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import { asyncFaultPoint } from '../../shared/fault-points.ts'
import { refuseWithdrawn, rollbackTarget } from '../store/configs.ts'
import type { Store } from '../store/store.ts'
import { checkDeploy, refuseUnfollowable, type Asked, type Checked } from './deploy.ts'
import { ofDeploy, progressOf } from './deploy-progress.ts'
import type { Deploys } from './deploys.ts'

export interface AdminPorts {
  store: Pick<Store, 'configs' | 'definitions' | 'tables' | 'state' | 'planStored'>
  deploys: Deploys
  settings(): Promise<ReplicationSettings>
  /** Returns the number of open client streams. */
  openStreams(): Promise<number>
  /** Runs `work` with a connection to the source. */
  connected<T>(work: (asked: Asked) => Promise<T>): Promise<T>
  /** Makes a session begin as soon as possible. */
  begin(): Promise<void>
  waitingFor(): string | null
}

/** Deploys and rollbacks on behalf of operators. */
export class Admin {
  readonly #ports: AdminPorts

  constructor(ports: AdminPorts) {
    this.#ports = ports
  }

  async deploy({ yaml, dryRun, force, ifMatch, by }: DeployRequest): Promise<DeployAnswer> {
    const { store, deploys, begin } = this.#ports
    this.#match(ifMatch)
    const checked = await this.#check(yaml, force)
    if (dryRun) return { config: null, difference: checked.difference }
    await asyncFaultPoint('deploy.checked')
    // Another deploy may have happened in between.
    this.#match(ifMatch)
    if (!force) {
      refuseUnfollowable(deploys, checked)
      refuseWithdrawn(store.configs, checked.difference.plan)
    }
    const { plan, difference } = checked
    const config = deploys.add(yaml, plan, 'admin', { copy: difference.copy, about: by === undefined ? {} : { by } })
    await begin()
    return { config, difference }
  }

  /**
   * Rolls back to the deploy with the number `to`, by default the one that served before. Without `to`, a deploy in
   * progress is cancelled instead.
   */
  async rollback({ dryRun, by, to }: { dryRun: boolean; by?: string; to?: number }): Promise<RollbackAnswer> {
    const { store, deploys, begin } = this.#ports
    const { configs } = store
    const { next, serving } = configs
    if (next && store.planStored !== null && (to === undefined || to === serving?.number)) {
      const cancelled = dryRun ? next : deploys.cancel()
      if (!dryRun) await begin()
      return { config: null, cancelled, difference: null, to: serving?.number ?? null }
    }
    const target = rollbackTarget(configs, to)
    const yaml = configs.text(target.number)
    // Tables may have changed since then, but what served before is better than what is being left.
    const { plan, difference } = await this.#check(yaml, true)
    if (dryRun) return { config: null, cancelled: null, difference, to: target.number }
    await asyncFaultPoint('deploy.checked')
    refuseWithdrawn(configs, difference.plan)
    const about = { ...(by !== undefined && { by }), of: target.number }
    const config = deploys.add(yaml, plan, 'rollback', { copy: difference.copy, about })
    await begin()
    return { config, cancelled: null, difference, to: target.number }
  }

  /** Marks a deploy as withdrawn. One in progress is cancelled; one that serves continues until another one does. */
  async withdraw({ number, by }: { number: number; by: string }): Promise<ConfigsAnswer> {
    const { store, deploys, begin } = this.#ports
    const { configs } = store
    const config = configs.all.find((each) => each.number === number)
    if (!config)
      throw new RockpoolError('ROCKPOOL_DEPLOY', `there is no sync config with the number ${number}`, { status: 404 })
    const underWay = configs.next?.number === number
    deploys.withdraw(number, by)
    if (underWay) await begin()
    return this.answer()
  }

  status(): DeployStatus {
    const { configs, definitions, planStored } = this.#ports.store
    const { serving, next, newest } = configs
    return {
      serving: planStored === null ? null : serving,
      next,
      failed: newest?.state === 'failed' ? newest : null,
      progress: next && progressOf(next.copy, this.#tables()),
      dropping: definitions.dropping.length,
    }
  }

  answer(): ConfigsAnswer {
    const { configs } = this.#ports.store
    const status = this.status()
    return {
      ...status,
      yaml: status.serving ? configs.text(status.serving.number) : '',
      history: [...configs.all].reverse(),
      tables: this.#tables(),
      waitingFor: this.#ports.waitingFor(),
    }
  }

  #tables(): TableCopyStatus[] {
    const { configs, tables, state } = this.#ports.store
    const { next } = configs
    return next ? ofDeploy(next.copy, tables.status(), state.get('next') === next.plan) : tables.status()
  }

  #check(yaml: string, force: boolean): Promise<Checked> {
    const { deploys, settings, connected, openStreams } = this.#ports
    return connected(async (asked) =>
      checkDeploy({ deploys, openStreams, settings: await settings(), asked }, yaml, force),
    )
  }

  #match(ifMatch: string | null): void {
    const serving = this.#ports.store.planStored
    if (ifMatch === null || ifMatch === serving) return
    throw new RockpoolError(
      'ROCKPOOL_DEPLOY',
      `the serving sync config is ${serving ?? 'none'}, not ${ifMatch}: look at it again`,
      {
        status: 412,
      },
    )
  }
}
