import type { DirectoryRpc } from '../protocol/messages/directory.ts'
import { LOCATIONS, placementOf, type Placement } from '../durable-objects/shared/placement.ts'
import { answered, callDeadline, Unanswered } from '../durable-objects/shared/retry.ts'
import { RockpoolError } from '../protocol/errors.ts'
import { DIRECTORY_NAME } from '../protocol/names.ts'
import { readSettings } from '../protocol/settings.ts'
import bundledSyncConfig from '../sync-config.yaml'
import type { SettingBindings } from './bindings.ts'
import { refuseProblems } from './checked.ts'
import { TENANTS } from './declarations.ts'
import type { TenantDirectory } from './directory.ts'
import { tenantOfBindings } from './from-bindings.ts'
import { standsBeside, type LocalBindings } from './script.ts'
import { DEFAULT_TENANT, SingleTenant } from './single.ts'
import { changed, newRecord, type TenantChange } from './stored/record.ts'
import { keyRing } from './stored/seal.ts'
import { KnownTenants, StoredTenants, type Deployment, type DirectoryCalls } from './stored/stored-tenants.ts'
import { TimedDirectory } from './timed-directory.ts'

/**
 * The key under which a script puts its own directory. It is a symbol so that no variable of the script can have this
 * name.
 */
export const DIRECTORY = Symbol.for('rockpool.directory')

export interface TenantBindings extends SettingBindings, LocalBindings {
  [DIRECTORY]?: TenantDirectory
  /** The Directory object, which is called only with `TENANT_KEYS`. */
  DIRECTORY?: { getByName(name: string, options?: { locationHint?: Placement['location'] & string }): DirectoryRpc }
}

/** Requests of tenants wait for it, so it is short: copies serve when it is over. */
const ANSWER_MS = 5_000

/**
 * Returns the directory that the script put beside its bindings, whose answers have a deadline; or else the one of the
 * Directory object, when there are keys for the secrets in it; or else the one for a single tenant.
 */
export function directoryOf(env: TenantBindings): TenantDirectory {
  const own = env[DIRECTORY]
  if (own) return new TimedDirectory(own, callDeadline(env))
  return storedTenants(env) ?? new SingleTenant(env, bundledSyncConfig)
}

/** Returns the tenants of the Directory object, or null when the deployment has others. Throws ROCKPOOL_SETTINGS. */
export function storedTenants(env: TenantBindings): StoredTenants | null {
  const namespace = env[DIRECTORY] === undefined ? storedIn(env) : null
  return namespace === null ? null : new StoredTenants(callsOf(namespace, env), deploymentOf(env), knownBy(namespace))
}

/**
 * Returns whether the tenants of this deployment are those of the Directory object, so that its addresses name them.
 */
export const hasStoredTenants = (env: TenantBindings): boolean => env[DIRECTORY] === undefined && storedIn(env) !== null

/** Returns whether the deployment has one tenant, which shares isolates with nobody. */
export const isSingle = (env: TenantBindings): boolean => env[DIRECTORY] === undefined && storedIn(env) === null

/**
 * One call of the Directory object, for those who change it. Rejects with ROCKPOOL_UNANSWERED, and with
 * ROCKPOOL_SETTINGS when there are no keys for it.
 */
export async function askDirectory<T>(
  env: TenantBindings,
  call: (directory: DirectoryRpc) => Promise<T>,
  deadlineMs = callDeadline(env),
): Promise<T> {
  const namespace = storedIn(env)
  if (namespace === null)
    throw new RockpoolError('ROCKPOOL_SETTINGS', 'TENANT_KEYS: is not set, so this deployment has one tenant')
  try {
    return await answered(() => call(stubIn(namespace, env)), deadlineMs)
  } catch (cause) {
    if (!(cause instanceof Unanswered)) throw cause
    throw new RockpoolError('ROCKPOOL_UNANSWERED', 'the Directory of tenants does not answer: try again', { cause })
  }
}

/** Returns by which sections the tenant that a change of nothing makes would differ from that of the script. */
export function previewOf(env: TenantBindings, change: TenantChange): string[] {
  const place = placementOf(env)
  const record = changed(newRecord(DEFAULT_TENANT, place, new Date()), change, new Date())
  const script = tenantOfBindings(DEFAULT_TENANT, env, bundledSyncConfig)
  const stored = tenantOfBindings(DEFAULT_TENANT, { ...env, ...record.settings }, bundledSyncConfig)
  const sections = ['replication', 'streams', 'limits', 'compaction'] as const
  return sections.filter((section) => JSON.stringify(script[section]) !== JSON.stringify(stored[section]))
}

type DirectoryNamespace = NonNullable<TenantBindings['DIRECTORY']>

const storedIn = (env: TenantBindings): DirectoryNamespace | null =>
  env.DIRECTORY !== undefined && env.TENANT_KEYS !== undefined && env.TENANT_KEYS !== '' ? env.DIRECTORY : null

/** By the namespace, of which there is one in an isolate. */
const known = new WeakMap<DirectoryNamespace, KnownTenants>()

function knownBy(namespace: DirectoryNamespace): KnownTenants {
  const tenants = known.get(namespace) ?? new KnownTenants()
  known.set(namespace, tenants)
  return tenants
}

/** The hint counts when the object is created, by whichever call comes first. */
function stubIn(namespace: DirectoryNamespace, env: TenantBindings): DirectoryRpc {
  const location = LOCATIONS.find((each) => each === env.DIRECTORY_LOCATION)
  return location === undefined
    ? namespace.getByName(DIRECTORY_NAME)
    : namespace.getByName(DIRECTORY_NAME, { locationHint: location })
}

/** With a new stub each time. */
const callsOf = (namespace: DirectoryNamespace, env: TenantBindings): DirectoryCalls => ({
  names: (request) => answered(() => stubIn(namespace, env).names(request), ANSWER_MS),
  overdue: (request) => answered(() => stubIn(namespace, env).overdue(request), ANSWER_MS),
  record: (request) => answered(() => stubIn(namespace, env).record(request), ANSWER_MS),
})

/** Throws ROCKPOOL_SETTINGS. */
function deploymentOf(env: TenantBindings): Deployment {
  const { values, problems } = readSettings(TENANTS, { ...env })
  refuseProblems(problems)
  return {
    bindings: env,
    // `rockpool dev` gives the sync config of the script as a setting.
    bundled: (standsBeside(env) && typeof env.SYNC_CONFIG === 'string' && env.SYNC_CONFIG) || bundledSyncConfig,
    root: DEFAULT_TENANT,
    hosts: (values.HOSTS ?? '').split(',').map((host) => host.trim()),
    wildcard: values.TENANT_HOSTS?.slice('*.'.length) ?? null,
    ring: () => keyRing(values.TENANT_KEYS ?? ''),
    now: Date.now,
  }
}
