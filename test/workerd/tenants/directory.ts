import { RockpoolError } from '../../../protocol/errors.ts'
import type { SettingBindings } from '../../../tenants/bindings.ts'
import type { CompactionSettings } from '../../../tenants/compaction.ts'
import type { TenantDirectory, TenantSecrets } from '../../../tenants/directory.ts'
import { noTenant, secretOfBindings, tenantOfBindings } from '../../../tenants/from-bindings.ts'
import type { Tenant } from '../../../tenants/tenant.ts'

/**
 * Tenants whose settings are in one variable, TENANTS, as JSON by name. A request is for the tenant that is the first
 * label of its host.
 */
export class TestDirectory implements TenantDirectory {
  readonly #tenants: Record<string, SettingBindings>

  constructor(env: Record<string, unknown>) {
    this.#tenants = JSON.parse(String(env.TENANTS))
  }

  async find(name: string): Promise<Tenant> {
    return tenantOfBindings(name, this.#bindings(name), '')
  }

  async *names(): AsyncIterable<string> {
    yield* Object.keys(this.#tenants)
  }

  async nameFor({ url }: Request): Promise<string> {
    const [name = ''] = new URL(url).hostname.split('.')
    if (Object.hasOwn(this.#tenants, name)) return name
    throw new RockpoolError('PSYNC_S2002', `there is nothing at ${name}`)
  }

  async secret<Field extends keyof TenantSecrets>(name: string, field: Field): Promise<TenantSecrets[Field]> {
    return secretOfBindings(this.#bindings(name), field)
  }

  async compaction(name: string): Promise<CompactionSettings> {
    return (await this.find(name)).compaction
  }

  #bindings(name: string): SettingBindings {
    const bindings = this.#tenants[name]
    if (!bindings) throw noTenant(name)
    return bindings
  }
}
