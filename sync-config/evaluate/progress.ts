import { RockpoolError } from '../../protocol/errors.ts'
import { jsonOf, sqlValue } from '../expressions/paths.ts'
import type { Value } from '../expressions/values.ts'
import { MAX_REQUEST_ROUNDS, type LimitSetting } from '../limits.ts'
import type { RequestLimits } from '../types.ts'

export type Rows = (lookupBucket: string) => readonly string[] | undefined

/** The state of one resolution. */
export interface Progress {
  rows: Rows
  lookups: Map<string, readonly (readonly Value[])[] | null>
  /** The number of distinct rows of all lookups together. */
  counted: number
  /** How often lookups were read, over all subscriptions; repeated reads count each time. */
  asked: number
  /** Loop rounds and evaluations of all subscriptions together, so that no request can keep us busy for ever. */
  rounds: number
  limits: RequestLimits
  /** Called for a bucket that cannot exist; the others of the same loop continue. */
  failed(message: string): void
}

export function count(progress: Progress): void {
  if (++progress.rounds > MAX_REQUEST_ROUNDS)
    throw tooMuch('combinations of parameters and results to look at', MAX_REQUEST_ROUNDS, null)
}

export const tooMuch = (what: string, limit: number, setting: LimitSetting | null): RockpoolError => {
  const remedy = `narrow the sync config${setting === null ? '' : `, or raise ${setting}`}`
  return new RockpoolError('PSYNC_S2305', `this client has more than ${limit} ${what}: ${remedy}`, {
    details: { limit, setting },
  })
}

/** Returns the distinct rows of a lookup bucket, which are counted once, or null when they are not known. */
export function lookupRows(progress: Progress, bucket: string): readonly (readonly Value[])[] | null {
  if (++progress.asked > progress.limits.lookupRows)
    throw tooMuch('lookups', progress.limits.lookupRows, 'MAX_LOOKUP_ROWS')
  const known = progress.lookups.get(bucket)
  if (known !== undefined) return known
  const texts = progress.rows(bucket)
  let rows: (readonly Value[])[] | null = null
  if (texts) {
    const distinct = new Set(texts)
    progress.counted += distinct.size
    if (progress.counted > progress.limits.lookupRows)
      throw tooMuch('parameter results', progress.limits.lookupRows, 'MAX_LOOKUP_ROWS')
    rows = Array.from(distinct, outputsOf)
  }
  progress.lookups.set(bucket, rows)
  return rows
}

function outputsOf(text: string): Value[] {
  const row = jsonOf(text)
  if (!Array.isArray(row)) throw new Error(`a lookup row is not a JSON array: ${text.slice(0, 60)}`)
  return row.map(sqlValue)
}
