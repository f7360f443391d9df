import type { SettingBindings } from './bindings.ts'
import type { CompactionSettings } from './compaction.ts'
import type { TenantDirectory, TenantSecrets } from './directory.ts'
import { noTenant, secretOfBindings, tenantOfBindings } from './from-bindings.ts'
import type { Tenant } from './tenant.ts'

/**
 * The one tenant of a script whose bindings are its settings. It is part of the names of its objects, so it never
 * changes.
 */
export const DEFAULT_TENANT = 'default'

/** The directory of a script with one tenant: its settings and secrets are the bindings of the script. */
export class SingleTenant implements TenantDirectory {
  readonly #bindings: SettingBindings
  readonly #bundled: string

  /** `bundled`: the sync config that is deployed with the script. */
  constructor(bindings: SettingBindings, bundled: string) {
    this.#bindings = bindings
    this.#bundled = bundled
  }

  async find(name: string): Promise<Tenant> {
    this.#check(name)
    return tenantOfBindings(name, this.#bindings, this.#bundled)
  }

  async *names(): AsyncIterable<string> {
    yield DEFAULT_TENANT
  }

  async nameFor(): Promise<string> {
    return DEFAULT_TENANT
  }

  async secret<Field extends keyof TenantSecrets>(name: string, field: Field): Promise<TenantSecrets[Field]> {
    this.#check(name)
    return secretOfBindings(this.#bindings, field)
  }

  async compaction(name: string): Promise<CompactionSettings> {
    return (await this.find(name)).compaction
  }

  #check(name: string): void {
    if (name !== DEFAULT_TENANT) throw noTenant(name)
  }
}
