import { z } from 'zod'
import { RockpoolError } from '../../protocol/errors.ts'
import { DEFAULT_TENANT } from '../../protocol/names.ts'
import { readLimits, type Limits } from '../../sync-config/limits.ts'
import bundledSyncConfig from '../../sync-config.yaml'
import type { SettingBindings } from '../setting-bindings.ts'
import { FENCE_SECONDS } from '../replicator/fences.ts'
import { jurisdiction, location } from '../shared/placement.ts'
import { CALL_SECONDS, MAX_CALL_SECONDS } from '../shared/retry.ts'

const identifier = z.string().regex(/^[a-z_][a-z0-9_]{0,62}$/, 'lower-case letters, digits and _ only')

/** Bindings are texts, or numbers when they stand in `[vars]`. */
const number = (least: number, most: number) =>
  z
    .union([z.number(), z.string().regex(/^\d+(\.\d+)?$/, 'must be a number')])
    .transform(Number)
    .refine((n) => n >= least && n <= most, `must be ${least} to ${most}`)
const whole = (least: number, most: number) => number(least, most).refine(Number.isInteger, 'must be a whole number')

const DAY = 86_400

const shape = z
  .object({
    databaseUrl: z.string().regex(/^postgres(ql)?:\/\//, 'must begin with postgres://'),
    /** PEM of the authority that signed the certificate of Postgres. */
    databaseCa: z.string().includes('-----BEGIN CERTIFICATE-----', 'must be a certificate in PEM').optional(),
    syncConfig: z.string().min(1),
    /** Given: it must exist. Not given: `rockpool` is created and kept equal to the tables of the sync config. */
    publication: identifier.optional(),
    /** Our own publication: all columns, or those that the sync config reads. */
    publicationColumns: z.enum(['all', 'read']),
    slot: identifier,
    /** How often changes of definitions are looked for while the tenant is live. */
    catalogWatchSeconds: number(0.05, 3_600),
    /** Nobody is connected: the pause between polls, doubled up to the maximum while they find nothing. */
    idlePollSeconds: number(1, DAY),
    idlePollMaxSeconds: number(1, 30 * DAY),
    /** How long a session goes on after the last relay has left. */
    lingerSeconds: number(0, 600),
    /** Life of a session. An alarm has 15 minutes, of which it leaves two for its end. */
    sessionSeconds: number(1, 780),
    /** Row changes of a session: an alarm has a CPU budget, and the clock stands still while computing. */
    sessionChanges: whole(1, 1_000_000_000),
    /** Row changes that are taken in at once, of a larger transaction in steps. 8,000 take about 0.2 s of the object's thread. */
    sliceChanges: whole(100, 100_000),
    /** Batches that may wait for answers of their buckets. While so many do, further transactions gather in one batch. */
    batchesInFlight: whole(1, 64),
    /** Appends that wait for an answer at a time; each holds the text of its ops. */
    appendsInFlight: whole(1, 256),
    /** Bucket objects that appends may keep awake at a time; 0 = as many as there are. */
    activeBuckets: whole(0, 1_000_000_000),
    /** After so long an answer of an object, or of Postgres, is given up and asked for again. */
    callSeconds: number(0.1, MAX_CALL_SECONDS),
    /** A bucket that takes no appends for so long is fenced, and commits go on without it. */
    fenceSeconds: number(1, DAY),
    /** How often the slot is measured while a session goes on. */
    walCheckSeconds: number(1, 3_600),
    /** Over `walKeepGb` of WAL kept by the slot: only told, or the slot is dropped and everything compared. */
    walPolicy: z.enum(['keep', 'drop-and-resync']),
    walKeepGb: number(0.001, 1_000_000),
    /** How long the definitions of a sync config go on being maintained when another one serves. */
    retireGraceSeconds: number(0, 30 * DAY),
    /** How often buckets are looked for that no row is in; those that were so for one such time are removed. 0 = never. */
    unusedDays: number(0, 3_650),
    location,
    jurisdiction,
  })
  .refine((settings) => settings.idlePollMaxSeconds >= settings.idlePollSeconds, {
    message: 'must not be less than IDLE_POLL_SECONDS',
    path: ['idlePollMaxSeconds'],
  })

export type TenantSettings = z.infer<typeof shape> & { limits: Limits }

/** The name of each setting's binding, and what it is when that is missing. */
const BINDINGS: { [Setting in keyof z.infer<typeof shape>]-?: [binding: keyof SettingBindings, missing?: string | number] } = {
  databaseUrl: ['DATABASE_URL'],
  databaseCa: ['DATABASE_CA'],
  syncConfig: ['SYNC_CONFIG', bundledSyncConfig],
  publication: ['PUBLICATION'],
  publicationColumns: ['PUBLICATION_COLUMNS', 'all'],
  slot: ['SLOT', 'rockpool'],
  catalogWatchSeconds: ['CATALOG_WATCH_SECONDS', 3],
  idlePollSeconds: ['IDLE_POLL_SECONDS', 60],
  idlePollMaxSeconds: ['IDLE_POLL_MAX_SECONDS', 4 * 3_600],
  lingerSeconds: ['LINGER_SECONDS', 30],
  sessionSeconds: ['SESSION_SECONDS', 600],
  sessionChanges: ['SESSION_CHANGES', 5_000_000],
  sliceChanges: ['SLICE_CHANGES', 8_000],
  batchesInFlight: ['BATCHES_IN_FLIGHT', 4],
  appendsInFlight: ['APPENDS_IN_FLIGHT', 32],
  activeBuckets: ['ACTIVE_BUCKETS', 0],
  callSeconds: ['CALL_SECONDS', CALL_SECONDS],
  fenceSeconds: ['FENCE_SECONDS', FENCE_SECONDS],
  walCheckSeconds: ['WAL_CHECK_SECONDS', 60],
  walPolicy: ['WAL_POLICY', 'keep'],
  walKeepGb: ['WAL_KEEP_GB', 10],
  retireGraceSeconds: ['RETIRE_GRACE_SECONDS', DAY],
  unusedDays: ['UNUSED_DAYS', 30],
  location: ['LOCATION'],
  jurisdiction: ['JURISDICTION'],
}

/**
 * The settings of a tenant. There is one tenant, `default`, and its settings are the bindings of the script.
 * Throws ROCKPOOL_SETTINGS, naming each binding that is missing or wrong.
 */
export function tenantSettings(env: SettingBindings, tenant: string): TenantSettings {
  if (tenant !== DEFAULT_TENANT) throw new RockpoolError('ROCKPOOL_SETTINGS', `there is no tenant ${JSON.stringify(tenant)}`)
  const bindings = new Map(Object.entries(BINDINGS))
  const given = [...bindings].map(([setting, [binding, missing]]) => [setting, env[binding] === '' ? missing : (env[binding] ?? missing)])
  const parsed = shape.safeParse(Object.fromEntries(given))
  const { limits, problems } = readLimits(env)
  if (parsed.success && problems.length === 0) return { ...parsed.data, limits }
  const wrong = (parsed.error?.issues ?? []).map((issue) => {
    const name = bindings.get(String(issue.path[0]))?.[0] ?? issue.path.join('.')
    return `${name}: ${issue.message}`
  })
  throw new RockpoolError('ROCKPOOL_SETTINGS', `settings are missing or wrong: ${[...wrong, ...problems].join('; ')}`)
}

/** The limits of a tenant's streams alone. Throws ROCKPOOL_SETTINGS. */
export function tenantLimits(env: SettingBindings, tenant: string): Limits {
  if (tenant !== DEFAULT_TENANT) throw new RockpoolError('ROCKPOOL_SETTINGS', `there is no tenant ${JSON.stringify(tenant)}`)
  const { limits, problems } = readLimits(env)
  if (problems.length > 0) throw new RockpoolError('ROCKPOOL_SETTINGS', `settings are missing or wrong: ${problems.join('; ')}`)
  return limits
}
