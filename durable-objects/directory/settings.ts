import { RockpoolError } from '../../protocol/errors.ts'
import { DEFAULT_TENANT } from '../../protocol/names.ts'
import { readSettings, type ValuesOf } from '../../protocol/settings.ts'
import { strongHash } from '../../protocol/strong-hash.ts'
import { LIMIT_SETTINGS, readLimits, type Limits } from '../../sync-config/limits.ts'
import bundledSyncConfig from '../../sync-config.yaml'
import type { SettingBindings } from '../setting-bindings.ts'
import { REPLICATION, type SettingName } from '../setting-declarations.ts'
import { PLACEMENT } from '../shared/placement.ts'

const DECLARED = { ...REPLICATION, ...PLACEMENT }
type Values = ValuesOf<typeof DECLARED>

type Camel<Name extends string> = Name extends `${infer Word}_${infer Rest}`
  ? `${Lowercase<Word>}${Capitalize<Camel<Rest>>}`
  : Lowercase<Name>

/** `WAL_KEEP_GB` is `walKeepGb` here. */
export type TenantSettings = { [Name in keyof Values as Camel<Name>]: Values[Name] } & { syncConfig: string; limits: Limits }

function byCamel(values: Values): { [Name in keyof Values as Camel<Name>]: Values[Name] } {
  const camel = (name: string): string => name.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase())
  const given = Object.entries<unknown>(values).filter(([, value]) => value !== undefined)
  return Object.fromEntries(given.map(([name, value]) => [camel(name), value])) as ReturnType<typeof byCamel>
}

/**
 * The settings of a tenant. There is one tenant, `default`, and its settings are the bindings of the script.
 * Throws ROCKPOOL_SETTINGS, naming each binding that is missing or wrong.
 */
export function tenantSettings(env: SettingBindings, tenant: string): TenantSettings {
  if (tenant !== DEFAULT_TENANT) throw new RockpoolError('ROCKPOOL_SETTINGS', `there is no tenant ${JSON.stringify(tenant)}`)
  const { values, problems } = readSettings(DECLARED, env)
  const { limits, problems: limitProblems } = readLimits(env)
  if (values.IDLE_POLL_MAX_SECONDS < values.IDLE_POLL_SECONDS)
    problems.push('IDLE_POLL_MAX_SECONDS: must not be less than IDLE_POLL_SECONDS')
  refuse([...problems, ...limitProblems])
  return { ...byCamel(values), syncConfig: values.SYNC_CONFIG ?? bundledSyncConfig, limits }
}

/** Another one when a setting of the replicator is another. As it is stored, and a password is among the settings, it cannot be run backwards. */
export const settingsHash = (env: SettingBindings): string =>
  strongHash(JSON.stringify(Object.keys({ ...DECLARED, ...LIMIT_SETTINGS }).map((name) => env[name as SettingName] ?? null)))

/** The limits of a tenant's streams alone. Throws ROCKPOOL_SETTINGS. */
export function tenantLimits(env: SettingBindings, tenant: string): Limits {
  if (tenant !== DEFAULT_TENANT) throw new RockpoolError('ROCKPOOL_SETTINGS', `there is no tenant ${JSON.stringify(tenant)}`)
  const { limits, problems } = readLimits(env)
  refuse(problems)
  return limits
}

function refuse(problems: readonly string[]): void {
  if (problems.length > 0) throw new RockpoolError('ROCKPOOL_SETTINGS', `settings are missing or wrong: ${problems.join('; ')}`)
}
