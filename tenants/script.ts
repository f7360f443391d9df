import type { SettingBindings } from './bindings.ts'
import { DEFAULT_TENANT } from './single.ts'

// The tenant that the settings of a script are, in a deployment that has others too: until it is adopted it is served
// from there, and from then on from the Directory.

/** The name under which it is adopted, which that of its objects begins with. */
export const SCRIPT_TENANT = DEFAULT_TENANT

/** Bindings that no deployment has: `rockpool dev` sets them. */
export interface LocalBindings {
  /**
   * Set where the edge runs on a developer's machine: objects have no placement there, and whoever has the development
   * secret is an operator.
   */
  LOCAL_EDGE?: string
  /**
   * `beside`: the tenant of the settings is served for good, beside those of the Directory. `rockpool dev` makes its
   * settings at each start, so a record of them would be wrong the next time.
   */
  SCRIPT_TENANT?: string
}

/** Returns whether the settings of the script are a tenant: they name a database. */
export const hasScriptTenant = ({ DATABASE_URL }: SettingBindings): boolean =>
  typeof DATABASE_URL === 'string' && DATABASE_URL !== ''

/** Returns whether the tenant of the settings is never adopted. */
export const standsBeside = (env: SettingBindings & LocalBindings): boolean =>
  Boolean(env.LOCAL_EDGE) && env.SCRIPT_TENANT === 'beside' && hasScriptTenant(env)
