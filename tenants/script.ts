import type { SettingBindings } from './bindings.ts'
import { DEFAULT_TENANT } from './single.ts'

// The tenant that the settings of a script are, in a deployment that has others too: until it is adopted it is served
// from there, and from then on from the Directory.

/** The name under which it is adopted, which that of its objects begins with. */
export const SCRIPT_TENANT = DEFAULT_TENANT

/** Returns whether the settings of the script are a tenant: they name a database. */
export const hasScriptTenant = ({ DATABASE_URL }: SettingBindings): boolean =>
  typeof DATABASE_URL === 'string' && DATABASE_URL !== ''
