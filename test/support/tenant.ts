import type { SettingBindings } from '../../tenants/bindings.ts'
import { tenantOfBindings } from '../../tenants/from-bindings.ts'
import { DEFAULT_TENANT, SingleTenant } from '../../tenants/single.ts'
import type { Tenant } from '../../tenants/tenant.ts'

/** The one tenant of a script with these bindings. */
export const tenantOf = (bindings: SettingBindings): Tenant => tenantOfBindings(DEFAULT_TENANT, bindings, '')

/** In workerd: objects of every name belong to a tenant with these bindings, until the file ends. */
export function everyNameIsATenant(bindings: SettingBindings): void {
  SingleTenant.prototype.find = async (name) => tenantOfBindings(name, bindings, '')
}
