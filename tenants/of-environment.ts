import bundledSyncConfig from '../sync-config.yaml'
import type { SettingBindings } from './bindings.ts'
import type { TenantDirectory } from './directory.ts'
import { SingleTenant } from './single.ts'

/** The key under which a script puts its own directory. It is a symbol so that no variable of the script can have this name. */
export const DIRECTORY = Symbol.for('rockpool.directory')

export interface TenantBindings extends SettingBindings {
  [DIRECTORY]?: TenantDirectory
}

/** Returns the directory that the script put beside its bindings, or else the one for a single tenant. */
export const directoryOf = (env: TenantBindings): TenantDirectory => env[DIRECTORY] ?? new SingleTenant(env, bundledSyncConfig)
