import { callDeadline } from '../durable-objects/shared/retry.ts'
import bundledSyncConfig from '../sync-config.yaml'
import type { SettingBindings } from './bindings.ts'
import type { TenantDirectory } from './directory.ts'
import { SingleTenant } from './single.ts'
import { TimedDirectory } from './timed-directory.ts'

/** The key under which a script puts its own directory. It is a symbol so that no variable of the script can have this name. */
export const DIRECTORY = Symbol.for('rockpool.directory')

export interface TenantBindings extends SettingBindings {
  [DIRECTORY]?: TenantDirectory
}

/** Returns the directory that the script put beside its bindings, whose answers have a deadline, or else the one for a single tenant, which is never slow. */
export function directoryOf(env: TenantBindings): TenantDirectory {
  const own = env[DIRECTORY]
  return own ? new TimedDirectory(own, callDeadline(env)) : new SingleTenant(env, bundledSyncConfig)
}
