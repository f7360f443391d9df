import { readSettings, setting, whole } from '../protocol/settings.ts'
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
  MAX_BUCKETS: setting(whole(1, 10_000), DEFAULT_LIMITS.buckets, 'buckets that one client may have'),
  MAX_LOOKUP_ROWS: setting(
    whole(1, 10_000),
    DEFAULT_LIMITS.lookupRows,
    'distinct rows of lookups that one client may have, and lookups that all of its streams may ask',
  ),
  MAX_DISJUNCTS: setting(
    whole(1, 1_000),
    DEFAULT_LIMITS.disjuncts,
    'alternatives that the ORs under one AND of the sync config may multiply out to',
  ),
  MAX_BUCKETS_PER_STREAM: setting(whole(1, 1_000), DEFAULT_LIMITS.streamBuckets, 'kinds of buckets of one stream'),
}

export type LimitSetting = keyof typeof LIMIT_SETTINGS

/** Reads the limits of a tenant; each problem names its setting. */
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
