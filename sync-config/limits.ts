import type { CompileLimits, RequestLimits } from './types.ts'

export type Limits = CompileLimits & RequestLimits

export const DEFAULT_LIMITS: Limits = { disjuncts: 100, streamBuckets: 100, buckets: 1_000, lookupRows: 1_000 }

/** Rounds of loops and evaluations that all streams of one client may take: far more than the limits of buckets and rows allow to be useful. */
export const MAX_REQUEST_ROUNDS = 100_000

/** UTF-8 bytes of the name of a bucket, with the values of its parameters. */
export const MAX_BUCKET_NAME_BYTES = 1_024

/** Buckets that one source row is put into, those of lookups included: each is an op, and one object that is written to. */
export const MAX_BUCKETS_PER_ROW = 1_000

/** UTF-8 bytes of what one source row is in all of its buckets together: it is held at once, in an object of 128 MB. */
export const MAX_BYTES_PER_ROW = 8_000_000

/** Elements, and combinations of elements, of the arrays of one source row that a query walks. */
export const MAX_ROW_ROUNDS = 100_000

/** Digits of an integer that is read out of text: BigInt takes more than linear time for them. */
export const MAX_INTEGER_DIGITS = 1_000

/** UTF-8 bytes of a sync config that is deployed: it is stored as one value. */
export const MAX_CONFIG_BYTES = 1_500_000

/**
 * The settings by which a tenant changes them. The most that may be set is what one stream can still hold in memory and re-read at a
 * change: a bucket or a row of a lookup costs it a few hundred bytes, and a lookup bucket is one call.
 */
export const LIMIT_SETTINGS = {
  MAX_DISJUNCTS: { limit: 'disjuncts', most: 1_000 },
  MAX_BUCKETS_PER_STREAM: { limit: 'streamBuckets', most: 1_000 },
  MAX_BUCKETS: { limit: 'buckets', most: 10_000 },
  MAX_LOOKUP_ROWS: { limit: 'lookupRows', most: 10_000 },
} as const satisfies Record<string, { limit: keyof Limits; most: number }>

export type LimitSetting = keyof typeof LIMIT_SETTINGS
const NAMES: readonly LimitSetting[] = ['MAX_DISJUNCTS', 'MAX_BUCKETS_PER_STREAM', 'MAX_BUCKETS', 'MAX_LOOKUP_ROWS']

/** Reads the limits of a tenant, numbers or decimal text; what is not given, or empty, has its default. `problems` name the setting. */
export function readLimits(given: Readonly<Partial<Record<LimitSetting, unknown>>>): { limits: Limits; problems: string[] } {
  const limits = { ...DEFAULT_LIMITS }
  const problems: string[] = []
  for (const name of NAMES) {
    const value = given[name]
    if (value === undefined || value === null || value === '') continue
    const { limit, most } = LIMIT_SETTINGS[name]
    const number = typeof value === 'number' ? value : /^\d+$/.test(String(value).trim()) ? Number(value) : Number.NaN
    if (Number.isInteger(number) && number >= 1 && number <= most) limits[limit] = number
    else problems.push(`${name}: must be a whole number from 1 to ${most}`)
  }
  return { limits, problems }
}
