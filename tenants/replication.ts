import { PLACEMENT } from '../durable-objects/shared/placement.ts'
import { readSettings, type Settings, type ValuesOf } from '../protocol/settings.ts'
import { strongHash } from '../protocol/strong-hash.ts'
import { LIMIT_SETTINGS, readLimits, type Limits } from '../sync-config/limits.ts'
import type { SettingBindings } from './bindings.ts'
import { refuseProblems } from './checked.ts'
import { REPLICATION, type SettingName } from './declarations.ts'

const DECLARED = { ...REPLICATION, ...PLACEMENT }
type Declared = typeof DECLARED

/** In place of secrets that are kept apart from the settings. They are left out of what is returned. */
const STAND_INS: SettingBindings = { DATABASE_URL: 'postgres://' }

type Camel<Name extends string> = Name extends `${infer Word}_${infer Rest}`
  ? `${Lowercase<Word>}${Capitalize<Camel<Rest>>}`
  : Lowercase<Name>

/** The settings that are not secrets. `WAL_KEEP_GB` is `walKeepGb` here. */
type Public = {
  [Name in keyof Declared as Declared[Name] extends { scope: 'secret' } ? never : Camel<Name>]: ValuesOf<Declared>[Name]
}

export type ReplicationSettings = Public & { syncConfig: string; limits: Limits }

/**
 * Returns the settings of the replicator. `bundled` is the sync config for when no setting has one. Throws
 * ROCKPOOL_SETTINGS, which names each binding that is missing or wrong, including those of secrets. `secretsApart`:
 * secrets are not among the bindings, and were validated when they were stored.
 */
export function replicationSettings(
  bindings: SettingBindings,
  bundled: string,
  secretsApart = false,
): ReplicationSettings {
  const { values, problems } = readSettings(DECLARED, secretsApart ? { ...bindings, ...STAND_INS } : bindings)
  const { limits, problems: limitProblems } = readLimits(bindings)
  if (values.IDLE_POLL_MAX_SECONDS < values.IDLE_POLL_SECONDS)
    problems.push('IDLE_POLL_MAX_SECONDS: must not be less than IDLE_POLL_SECONDS')
  refuseProblems([...problems, ...limitProblems])
  return { ...withoutSecrets(values), syncConfig: values.SYNC_CONFIG ?? bundled, limits }
}

function withoutSecrets(values: ValuesOf<Declared>): Public {
  const declared: Settings = DECLARED
  const shown = Object.entries<unknown>(values).filter(
    ([name, value]) => value !== undefined && declared[name]?.scope !== 'secret',
  )
  return Object.fromEntries(shown.map(([name, value]) => [camel(name), value])) as Public
}

const camel = (name: string): string => name.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase())

/**
 * Returns a value that changes when a setting of the replicator does. It is stored, and a password is among the
 * settings: so it is a hash that cannot be reversed.
 */
export const replicationVersion = (bindings: SettingBindings): string =>
  strongHash(
    JSON.stringify(
      Object.keys({ ...DECLARED, ...LIMIT_SETTINGS }).map((name) => bindings[name as SettingName] ?? null),
    ),
  )
