import { z } from 'zod'
import { JURISDICTIONS, LOCATIONS, type Placement } from '../../durable-objects/shared/placement.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import { readSettings } from '../../protocol/settings.ts'
import { LIMIT_NAMES, limitShapes, type LimitName, type StoredLimits, type Threshold } from '../budget.ts'
import { REPLICATION, TOKENS } from '../declarations.ts'
import { HOST_NAME, ownAudience, sourceName } from './names.ts'

// What is stored of a tenant, and how a change of it is read. A tenant has settings of its own where it differs from
// others: its source and its tokens. Every other setting is one of the script, and equal for all.

/** Settings of a tenant that are not secrets, by the names of docs/settings.md. */
export const OWN_SETTINGS = {
  DATABASE_CA: REPLICATION.DATABASE_CA,
  SYNC_CONFIG: REPLICATION.SYNC_CONFIG,
  PUBLICATION: REPLICATION.PUBLICATION,
  OWN_PUBLICATION: REPLICATION.OWN_PUBLICATION,
  PUBLICATION_COLUMNS: REPLICATION.PUBLICATION_COLUMNS,
  SLOT: REPLICATION.SLOT,
  JWT_AUDIENCE: TOKENS.JWT_AUDIENCE,
  JWKS_URL: TOKENS.JWKS_URL,
  JWT_MAX_LIFETIME: TOKENS.JWT_MAX_LIFETIME,
  JWT_CLOCK_TOLERANCE: TOKENS.JWT_CLOCK_TOLERANCE,
  JWT_ISSUER: TOKENS.JWT_ISSUER,
  SUPABASE_URL: TOKENS.SUPABASE_URL,
} as const

/** Settings of a tenant that are secrets. Those of operators belong to the deployment. */
export const OWN_SECRETS = {
  DATABASE_URL: REPLICATION.DATABASE_URL,
  JWT_SECRET: TOKENS.JWT_SECRET,
  JWT_KEYS: TOKENS.JWT_KEYS,
  SUPABASE_JWT_SECRET: TOKENS.SUPABASE_JWT_SECRET,
} as const

export type OwnSetting = keyof typeof OWN_SETTINGS
export type OwnSecret = keyof typeof OWN_SECRETS
export const OWN_SECRET_NAMES = Object.keys(OWN_SECRETS) as OwnSecret[]

/** No session depends on these. */
const OF_TOKENS: ReadonlySet<string> = new Set(Object.keys(TOKENS))

export const MAX_HOSTS = 20
/** UTF-16 units of one setting or secret, but for the sync config, which has a limit of its own. */
export const MAX_VALUE_LENGTH = 64 * 1024
const MAX_SYNC_CONFIG = 1_500_000

/**
 * `active`: served. `suspended`: refused to clients, and not replicated. `deleting`: the same, and its objects are
 * being removed; there is no way back. A tenant that was deleted leaves a tombstone, which keeps its name from being
 * given again for a while.
 */
export type TenantState = 'active' | 'suspended' | 'deleting'

/** A database that a tenant had before, in which its slot may still be. */
export interface Former {
  id: string
  /** `host:port/database`. */
  database: string
  slot: string
  /** ISO 8601: when the tenant left it. */
  since: string
}

export interface TenantRecord {
  name: string
  state: TenantState
  /** Grows with every change. */
  version: number
  /** The version at which something last changed by which it replicates. */
  sourceVersion: number
  /** ISO 8601. */
  created: string
  changed: string
  settings: Partial<Record<OwnSetting, string>>
  /** The secrets that are stored. Their values are never part of a record. */
  secrets: OwnSecret[]
  /** Exact host names that are this tenant's. */
  hosts: string[]
  /** The claim of its tokens that must be its name, or null. */
  tenantClaim: string | null
  /**
   * Where its objects are: said or taken from the script when the tenant was made, and the same from then on. Absent in
   * records of before: where the script says.
   */
  place?: Placement
  /** What it may use. Absent: as much as it likes. */
  limits?: StoredLimits
  /** Databases that it had before, in which its slot may still be. Absent when there are none. */
  former?: Former[]
}

/** Null removes a value. What is not named stays as it is. */
export interface TenantChange {
  settings: Partial<Record<OwnSetting, string | null>>
  secrets: Partial<Record<OwnSecret, string | null>>
  hosts?: string[] | undefined
  tenantClaim?: string | null | undefined
  limits?: Partial<Record<LimitName, Threshold | null>> | undefined
  /** Null: none, whatever the script says. */
  location?: Placement['location'] | undefined
  jurisdiction?: Placement['jurisdiction'] | undefined
}

const value = z.string().min(1).max(MAX_VALUE_LENGTH).nullable().optional()
const shapeOf = <Name extends string>(names: readonly Name[]) =>
  z.strictObject(Object.fromEntries(names.map((name) => [name, value])) as Record<Name, typeof value>)

/** The body of a change, as the admin API takes it. */
export const tenantChange = z.strictObject({
  settings: shapeOf(Object.keys(OWN_SETTINGS) as OwnSetting[])
    .extend({ SYNC_CONFIG: z.string().min(1).max(MAX_SYNC_CONFIG).nullable().optional() })
    .default({}),
  secrets: shapeOf(OWN_SECRET_NAMES).default({}),
  hosts: z
    .array(z.string().regex(HOST_NAME, 'must be a host name in lower case, without a port'))
    .max(MAX_HOSTS)
    .refine((hosts) => new Set(hosts).size === hosts.length, 'must not name a host twice')
    .optional(),
  tenantClaim: z.string().min(1).max(200).nullable().optional(),
  limits: z
    .strictObject({
      streams: limitShapes.streams.nullable().optional(),
      rowsPerDay: limitShapes.rowsPerDay.nullable().optional(),
      storedGb: limitShapes.storedGb.nullable().optional(),
    })
    .optional(),
  location: z.enum(LOCATIONS).nullable().optional(),
  jurisdiction: z.enum(JURISDICTIONS).nullable().optional(),
})

/**
 * Returns the record of a new tenant of which only the name is known. `place`: what the script says. It is not stored
 * like this: it has no database yet.
 */
export const newRecord = (name: string, place: Placement, now: Date): TenantRecord => ({
  name,
  state: 'active',
  version: 0,
  sourceVersion: 0,
  created: now.toISOString(),
  changed: now.toISOString(),
  settings: {},
  secrets: [],
  hosts: [],
  tenantClaim: null,
  place,
})

/**
 * Returns the record after a change. Throws ROCKPOOL_SETTINGS (422), which names each setting that is missing or wrong,
 * and ROCKPOOL_TENANT_CONFLICT for another place.
 */
export function changed(before: TenantRecord, change: TenantChange, now: Date): TenantRecord {
  const settings = { ...ownDefaults(before.name), ...withChanges(before.settings, change.settings) }
  const secrets = OWN_SECRET_NAMES.filter(
    (name) => change.secrets[name] ?? (change.secrets[name] !== null && before.secrets.includes(name)),
  )
  const given = OWN_SECRET_NAMES.flatMap((name): [OwnSecret, string][] =>
    change.secrets[name] ? [[name, change.secrets[name]]] : [],
  )
  const problems = [
    ...readSettings(OWN_SETTINGS, settings).problems,
    ...given.flatMap(([name, text]) => readSettings({ [name]: OWN_SECRETS[name] }, { [name]: text }).problems),
    ...(secrets.includes('DATABASE_URL') ? [] : ['DATABASE_URL: is not set']),
  ]
  if (problems.length > 0) {
    throw new RockpoolError('ROCKPOOL_SETTINGS', `settings are missing or wrong: ${problems.join('; ')}`, {
      status: 422,
    })
  }
  const version = before.version + 1
  return {
    ...before,
    ...placed(before, change),
    version,
    sourceVersion: changesSource(before, settings, change) ? version : before.sourceVersion,
    changed: now.toISOString(),
    settings,
    secrets,
    hosts: change.hosts ?? before.hosts,
    tenantClaim: change.tenantClaim === undefined ? before.tenantClaim : change.tenantClaim,
    ...limited(before, change),
  }
}

/**
 * Returns where the objects are. The same name in another jurisdiction is another, empty object, and an object stays
 * where it was created, so a tenant that has objects is not moved by a change of its record.
 */
function placed(
  { name, version, place }: TenantRecord,
  { location, jurisdiction }: TenantChange,
): Pick<TenantRecord, 'place'> {
  const wanted = {
    ...place,
    ...(location !== undefined && { location }),
    ...(jurisdiction !== undefined && { jurisdiction }),
  }
  const after = { location: wanted.location ?? null, jurisdiction: wanted.jurisdiction ?? null }
  if (version === 0) return { place: after }
  const isSame = after.location === (place?.location ?? null) && after.jurisdiction === (place?.jurisdiction ?? null)
  if (isSame) return place === undefined ? {} : { place }
  const how = 'its objects stay where they are: delete it, and make one with the same database there'
  throw new RockpoolError(
    'ROCKPOOL_TENANT_CONFLICT',
    `the place of the tenant ${name} was fixed when it was made, and ${how}`,
  )
}

function limited({ limits }: TenantRecord, { limits: change = {} }: TenantChange): Pick<TenantRecord, 'limits'> {
  const after: StoredLimits = { ...limits }
  for (const name of LIMIT_NAMES) {
    const given = change[name]
    if (given === null) delete after[name]
    else if (given !== undefined) after[name] = given
  }
  return limits === undefined && Object.keys(after).length === 0 ? {} : { limits: after }
}

/** Returns the record in another state. Throws ROCKPOOL_TENANT_CONFLICT: what is being deleted stays so. */
export function inState(before: TenantRecord, state: TenantState, now: Date): TenantRecord {
  if (before.state === 'deleting' && state !== 'deleting') {
    throw new RockpoolError('ROCKPOOL_TENANT_CONFLICT', `the tenant ${before.name} is being deleted`)
  }
  if (before.state === state) return before
  return { ...before, state, version: before.version + 1, changed: now.toISOString() }
}

/**
 * What a tenant has when nothing else is said. It is written down, so that no later version of the code calls its slot
 * otherwise.
 */
function ownDefaults(name: string): TenantRecord['settings'] {
  const own = sourceName(name)
  return { SLOT: own, OWN_PUBLICATION: own, JWT_AUDIENCE: ownAudience(name) }
}

function withChanges(before: TenantRecord['settings'], change: TenantChange['settings']): TenantRecord['settings'] {
  const after: TenantRecord['settings'] = { ...before }
  for (const name of Object.keys(change) as OwnSetting[]) {
    const given = change[name]
    if (given === null) delete after[name]
    else if (given !== undefined) after[name] = given
  }
  return after
}

function changesSource(before: TenantRecord, after: TenantRecord['settings'], { secrets }: TenantChange): boolean {
  if (before.version === 0 || secrets.DATABASE_URL !== undefined) return true
  const names = Object.keys(OWN_SETTINGS) as OwnSetting[]
  return names.some((name) => !OF_TOKENS.has(name) && before.settings[name] !== after[name])
}

/** What only one tenant of a deployment may have. */
export interface Owned {
  kind: 'slot' | 'publication' | 'host'
  value: string
}

/**
 * Returns what this tenant has for itself. Whether two addresses are the same cluster is not known before a connection
 * is made, so a slot, and a publication that Rockpool makes, are one tenant's whatever the database is: other names
 * cost nothing. A publication that its owner made may have the name of one in another database.
 */
export function ownedBy({ settings, hosts }: TenantRecord, databaseUrl: string): Owned[] {
  const { SLOT, OWN_PUBLICATION, PUBLICATION } = settings
  const owned: Owned[] = hosts.map((host) => ({ kind: 'host', value: host }))
  if (SLOT !== undefined) owned.push({ kind: 'slot', value: SLOT })
  if (PUBLICATION !== undefined) owned.push({ kind: 'publication', value: `${databaseOf(databaseUrl)}/${PUBLICATION}` })
  else if (OWN_PUBLICATION !== undefined) owned.push({ kind: 'publication', value: OWN_PUBLICATION })
  return owned
}

/** `host:port/database`, without user and password. */
export function databaseOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null
  return url ? `${url.hostname.toLowerCase()}:${url.port || '5432'}${url.pathname}` : text
}
