import bundledSyncConfig from '../sync-config.yaml'
import type { SettingBindings } from './bindings.ts'
import type { TenantDirectory } from './directory.ts'
import { SingleTenant } from './single.ts'

/** Where a script puts a directory of its own. A symbol, so that no variable of the script can have this name. */
export const DIRECTORY = Symbol.for('rockpool.directory')

export interface TenantBindings extends SettingBindings {
  [DIRECTORY]?: TenantDirectory
}

/** The directory that the script has put beside its bindings, or else that of its one tenant. */
export const directoryOf = (env: TenantBindings): TenantDirectory => env[DIRECTORY] ?? new SingleTenant(env, bundledSyncConfig)
