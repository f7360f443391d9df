import type { SettingBindings } from '../../tenants/bindings.ts'
import { tenantOfBindings } from '../../tenants/from-bindings.ts'
import { DEFAULT_TENANT } from '../../tenants/single.ts'
import type { Tenant } from '../../tenants/tenant.ts'

/** The one tenant of a script with these bindings. */
export const tenantOf = (bindings: SettingBindings): Tenant => tenantOfBindings(DEFAULT_TENANT, bindings, '')
