import { z } from 'zod'

// What a tenant may use. It is limited so that one tenant neither fills a deployment nor runs up a bill.

/**
 * `streams`: open at a time. `rowsPerDay`: rows written by its objects, as they are billed, in a day of UTC.
 * `storedGb`: GB (1024³ bytes) that its replicator and its buckets store.
 */
export const LIMIT_NAMES = ['streams', 'rowsPerDay', 'storedGb'] as const
export type LimitName = (typeof LIMIT_NAMES)[number]

/** Above `warn` the operator is told, above `refuse` there is no more. Null: never. */
export interface Threshold {
  warn: number | null
  refuse: number | null
}

export type TenantBudget = Readonly<Record<LimitName, Threshold>>

const NONE: Threshold = { warn: null, refuse: null }
export const NO_BUDGET: TenantBudget = { streams: NONE, rowsPerDay: NONE, storedGb: NONE }

/** The limits of a tenant as they are stored, and as a change says them: those that are not named are not limited. */
export type StoredLimits = Partial<Record<LimitName, Threshold>>

const MOST = 1e15
const thresholdOf = (amount: z.ZodNumber) => {
  const maybe = amount.nullable().default(null)
  return z
    .strictObject({ warn: maybe, refuse: maybe })
    .refine(({ warn, refuse }) => warn === null || refuse === null || warn <= refuse, 'warn must not be above refuse')
}
const whole = thresholdOf(z.number().int().min(1).max(MOST))

export const limitShapes = {
  streams: whole,
  rowsPerDay: whole,
  storedGb: thresholdOf(z.number().min(0.001).max(1_000_000)),
} satisfies Record<LimitName, typeof whole>

export const budgetOf = (stored: StoredLimits = {}): TenantBudget => ({ ...NO_BUDGET, ...stored })

export type Level = 'within' | 'warn' | 'refuse'

/** `refuse` when as much is used as may be, `warn` when as much is used as is to be told. */
export function levelOf(used: number, { warn, refuse }: Threshold): Level {
  if (refuse !== null && used >= refuse) return 'refuse'
  return warn !== null && used >= warn ? 'warn' : 'within'
}

/** The streams of one relay: see docs/limits.md. */
const RELAY_STREAMS = 2_000

/**
 * Returns over how many relays the streams of a tenant are spread. Relays count for themselves, so a limit that one
 * relay can keep is kept by one, exactly; a larger one is divided among as few as hold it.
 */
export const relaysFor = (relays: number, { streams: { refuse } }: TenantBudget): number =>
  refuse === null ? relays : Math.max(1, Math.min(relays, Math.ceil(refuse / RELAY_STREAMS)))

/** Returns what one of the relays may have. */
export const partOfRelay = (relays: number, { streams }: TenantBudget): Threshold => ({
  warn: streams.warn && Math.ceil(streams.warn / relays),
  refuse: streams.refuse && Math.ceil(streams.refuse / relays),
})
