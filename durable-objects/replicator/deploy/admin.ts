import type { Sql } from 'postgres'
import { RockpoolError } from '../../../protocol/errors.ts'
import type {
  ConfigsAnswer,
  DeployAnswer,
  DeployRequest,
  DeployStatus,
  RollbackAnswer,
  TableCopyStatus,
} from '../../../protocol/messages/admin.ts'
import type { TenantSettings } from '../../../tenants/replication.ts'
import { asyncFaultPoint } from '../../shared/fault-points.ts'
import type { Core } from '../core.ts'
import { refuseWithdrawn, rollbackTarget } from '../store/configs.ts'
import { checkDeploy, refuseUnfollowable, store } from './deploy.ts'
import { ofDeploy, progressOf } from './deploy-progress.ts'

export interface AdminPorts {
  core: Core
  settings(): Promise<TenantSettings>
  /** With a connection for statements. */
  connected<T>(work: (sql: Sql) => Promise<T>): Promise<T>
  /** A session begins as soon as it can. */
  begin(): Promise<void>
  waitingFor(): string | null
}

/** Deploys and rollbacks as operators ask for them. */
export class Admin {
  readonly #ports: AdminPorts

  constructor(ports: AdminPorts) {
    this.#ports = ports
  }

  async deploy({ yaml, dryRun, force, ifMatch, by }: DeployRequest): Promise<DeployAnswer> {
    const { core, settings, connected, begin } = this.#ports
    this.#match(ifMatch)
    const checked = await connected(async (sql) => checkDeploy(core, await settings(), sql, yaml, force))
    if (dryRun) return { config: null, difference: checked.difference }
    await asyncFaultPoint('deploy.checked')
    // Another deploy may have come in between.
    this.#match(ifMatch)
    if (!force) {
      refuseUnfollowable(core, checked)
      refuseWithdrawn(core.configs, checked.difference.plan)
    }
    const config = store(core, yaml, checked, 'admin', { ...(by !== undefined && { by }) })
    await begin()
    return { config, difference: checked.difference }
  }

  /** `to`: the number of a deploy; absent: the one that served before. A deploy that is under way is given up for what serves, and else replaced. */
  async rollback({ dryRun, by, to }: { dryRun: boolean; by?: string; to?: number }): Promise<RollbackAnswer> {
    const { core, settings, connected, begin } = this.#ports
    const { next, serving } = core.configs
    if (next && core.planBehind !== null && (to === undefined || to === serving?.number)) {
      const cancelled = dryRun ? next : core.deploys.cancel()
      if (!dryRun) await begin()
      return { config: null, cancelled, difference: null, to: serving?.number ?? null }
    }
    const target = rollbackTarget(core.configs, to)
    const yaml = core.configs.text(target.number)
    // Tables may have changed since: what served before is better than what is being left.
    const checked = await connected(async (sql) => checkDeploy(core, await settings(), sql, yaml, true))
    const { difference } = checked
    if (dryRun) return { config: null, cancelled: null, difference, to: target.number }
    await asyncFaultPoint('deploy.checked')
    refuseWithdrawn(core.configs, difference.plan)
    const config = store(core, yaml, checked, 'rollback', { ...(by !== undefined && { by }), of: target.number })
    await begin()
    return { config, cancelled: null, difference, to: target.number }
  }

  /** One that is to serve is given up; one that serves goes on until another one does. */
  async withdraw({ number, by }: { number: number; by: string }): Promise<ConfigsAnswer> {
    const { core, begin } = this.#ports
    const config = core.configs.all.find((each) => each.number === number)
    if (!config) throw new RockpoolError('ROCKPOOL_DEPLOY', `there is no sync config of the number ${number}`, { status: 404 })
    const underWay = core.configs.next?.number === number
    core.deploys.withdraw(number, by)
    if (underWay) await begin()
    return this.answer()
  }

  status(): DeployStatus {
    const { configs, definitions, planBehind } = this.#ports.core
    const { serving, next, newest } = configs
    return {
      serving: planBehind === null ? null : serving,
      next,
      failed: newest?.state === 'failed' ? newest : null,
      progress: next && progressOf(next.copy, this.#tables()),
      dropping: definitions.dropping.length,
    }
  }

  answer(): ConfigsAnswer {
    const { configs } = this.#ports.core
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
    const { configs, tables, state } = this.#ports.core
    const { next } = configs
    return next ? ofDeploy(next.copy, tables.status(), state.get('next') === next.plan) : tables.status()
  }

  #match(ifMatch: string | null): void {
    const serving = this.#ports.core.planBehind
    if (ifMatch === null || ifMatch === serving) return
    throw new RockpoolError('ROCKPOOL_DEPLOY', `the serving sync config is ${serving ?? 'none'}, not ${ifMatch}: look at it again`, {
      status: 412,
    })
  }
}
