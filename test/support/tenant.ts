import type { SettingBindings } from '../../tenants/bindings.ts'
import { tenantOfBindings } from '../../tenants/from-bindings.ts'
import { DEFAULT_TENANT, SingleTenant } from '../../tenants/single.ts'
import type { Tenant } from '../../tenants/tenant.ts'

/** Returns the one tenant of a script with these bindings. */
export const tenantOf = (bindings: SettingBindings): Tenant => tenantOfBindings(DEFAULT_TENANT, bindings, '')

/** Makes objects of every name belong to a tenant with these bindings, in workerd, until the file ends. */
export function everyNameIsATenant(bindings: SettingBindings): void {
  SingleTenant.prototype.find = async (name) => tenantOfBindings(name, bindings, '')
}
