import { readSettings, setting, whole } from '../protocol/settings.ts'
import type { CompileLimits, RequestLimits } from './types.ts'

export type Limits = CompileLimits & RequestLimits

export const DEFAULT_LIMITS: Limits = { disjuncts: 100, streamBuckets: 100, buckets: 1_000, lookupRows: 1_000 }

/**
 * Loop rounds and evaluations that all streams of one client may take together: far more than a request within the
 * limits of buckets and rows needs.
 */
export const MAX_REQUEST_ROUNDS = 100_000

/** UTF-8 bytes of a bucket's name, including the values of its parameters. */
export const MAX_BUCKET_NAME_BYTES = 1_024

/** Buckets that one source row may be in, including those of lookups: each costs an op and a write to one object. */
export const MAX_BUCKETS_PER_ROW = 1_000

/**
 * UTF-8 bytes that one source row may produce in all its buckets together: they are in memory at the same time, in an
 * object of 128 MB.
 */
export const MAX_BYTES_PER_ROW = 8_000_000

/** Array elements, and combinations of them, that a query may visit for one source row. */
export const MAX_ROW_ROUNDS = 100_000

/** Digits of an integer that is read from text: BigInt takes more than linear time to read them. */
export const MAX_INTEGER_DIGITS = 1_000

/** UTF-8 bytes of a sync config that can be deployed: it is stored as one value. */
export const MAX_CONFIG_BYTES = 1_500_000

/**
 * The settings with which a tenant changes its limits. The maxima are what one stream can hold in memory and read again
 * after a
 * change: a bucket or a lookup row costs it a few hundred bytes, and a lookup bucket costs one call.
 */
export const LIMIT_SETTINGS = {
  MAX_BUCKETS: setting(whole(1, 10_000), DEFAULT_LIMITS.buckets, 'buckets that one client may have'),
  MAX_LOOKUP_ROWS: setting(
    whole(1, 10_000),
    DEFAULT_LIMITS.lookupRows,
    'distinct lookup rows that one client may have, and lookups that all of its streams may read',
  ),
  MAX_DISJUNCTS: setting(
    whole(1, 1_000),
    DEFAULT_LIMITS.disjuncts,
    'alternatives that the ORs under one AND of the sync config may multiply out to',
  ),
  MAX_BUCKETS_PER_STREAM: setting(whole(1, 1_000), DEFAULT_LIMITS.streamBuckets, 'kinds of buckets of one stream'),
}

export type LimitSetting = keyof typeof LIMIT_SETTINGS

/** Reads the limits of a tenant. Each problem names its setting. */
export function readLimits(given: Readonly<Record<string, unknown>>): { limits: Limits; problems: string[] } {
  const { values, problems } = readSettings(LIMIT_SETTINGS, given)
  const limits = {
    disjuncts: values.MAX_DISJUNCTS,
    streamBuckets: values.MAX_BUCKETS_PER_STREAM,
    buckets: values.MAX_BUCKETS,
    lookupRows: values.MAX_LOOKUP_ROWS,
  }
  return { limits, problems }
}
