import { placementOf, type Placement } from '../durable-objects/shared/placement.ts'
import { RockpoolError } from '../protocol/errors.ts'
import { readSettings } from '../protocol/settings.ts'
import type { Limits } from '../sync-config/limits.ts'
import type { SettingBindings } from './bindings.ts'
import { NO_BUDGET, type TenantBudget } from './budget.ts'
import { refuseProblems } from './checked.ts'
import { compactionSettings, type CompactionSettings } from './compaction.ts'
import { REPLICATION } from './declarations.ts'
import type { TenantSecrets } from './directory.ts'
import { replicationSettings, replicationVersion, type ReplicationSettings } from './replication.ts'
import { streamSettings, tenantLimits, type StreamSettings } from './streams.ts'
import type { Tenant } from './tenant.ts'
import { tokenSettings } from './tokens.ts'

/**
 * Returns a tenant whose settings are bindings. Each section is read when it is first used. `bundled` is the sync
 * config for when no setting has one. `version`: there are no secrets among the bindings, and this is what changes when
 * a setting of the replicator does.
 */
export function tenantOfBindings(
  name: string,
  bindings: SettingBindings,
  bundled: string,
  version: string | null = null,
  budget: TenantBudget = NO_BUDGET,
): Tenant {
  return new BoundTenant(name, bindings, bundled, version, budget)
}

/** Throws ROCKPOOL_SETTINGS when the secret is missing or wrong. */
export function secretOfBindings<Field extends keyof TenantSecrets>(
  bindings: SettingBindings,
  field: Field,
): TenantSecrets[Field] {
  const read: { [Name in keyof TenantSecrets]: () => TenantSecrets[Name] } = {
    'source.url': () => {
      const { values, problems } = readSettings({ DATABASE_URL: REPLICATION.DATABASE_URL }, bindings)
      refuseProblems(problems)
      return values.DATABASE_URL
    },
    'token.keys': () => tokenSettings(bindings),
  }
  return read[field]()
}

export const noTenant = (name: string) =>
  new RockpoolError('ROCKPOOL_SETTINGS', `there is no tenant ${JSON.stringify(name)}`)

/** The bindings are a private field, which is not printed or serialized with the tenant: they hold secrets. */
class BoundTenant implements Tenant {
  readonly name: string
  readonly budget: TenantBudget
  readonly #bindings: SettingBindings
  readonly #bundled: string
  #replication: ReplicationSettings | null = null
  #streams: StreamSettings | null = null
  #limits: Limits | null = null
  #compaction: CompactionSettings | null = null
  #place: Placement | null = null
  readonly #secretsApart: boolean
  #version: string | null

  constructor(name: string, bindings: SettingBindings, bundled: string, version: string | null, budget: TenantBudget) {
    this.name = name
    this.budget = budget
    this.#bindings = bindings
    this.#bundled = bundled
    this.#secretsApart = version !== null
    this.#version = version
  }

  get replication(): ReplicationSettings {
    return (this.#replication ??= replicationSettings(this.#bindings, this.#bundled, this.#secretsApart))
  }

  get streams(): StreamSettings {
    return (this.#streams ??= streamSettings(this.#bindings))
  }

  get limits(): Limits {
    return (this.#limits ??= tenantLimits(this.#bindings))
  }

  get compaction(): CompactionSettings {
    return (this.#compaction ??= compactionSettings(this.#bindings))
  }

  get place(): Placement {
    return (this.#place ??= placementOf(this.#bindings))
  }

  get version(): string {
    return (this.#version ??= replicationVersion(this.#bindings))
  }
}
