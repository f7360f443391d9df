/** Prices in US dollars on the Workers Paid plan, beyond what it includes, as published in November 2026. */
export const PRICES = {
  /** Durable Objects, for a million of each. */
  rowsWritten: 1,
  rowsRead: 0.001,
  requests: 0.15,
  /** Worker requests, a million. */
  workerRequests: 0.3,
  /** A million GB-seconds of an object that is awake, at 128 MB. */
  duration: 12.5,
  /** GB and month. */
  storage: 0.2,
}

/** Memory for which an object that is awake is billed, in GB. */
const AWAKE_GB = 0.128

/** What a replicator counts on a day of UTC, `YYYY-MM-DD`; `awakeMs`: how long its sessions ran. */
export interface DayUsage {
  day: string
  rows: number
  requests: number
  awakeMs: number
}

/** Returns what Cloudflare bills for it, without what the plan includes. */
export const dollarsOf = ({ rows, requests, awakeMs }: Omit<DayUsage, 'day'>): number =>
  (rows * PRICES.rowsWritten + requests * PRICES.requests + (awakeMs / 1_000) * AWAKE_GB * PRICES.duration) / 1e6

const DAY_MS = 86_400_000

/** `YYYY-MM-DD`, in UTC. */
export const dayOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10)
/** When the day is over, in UTC: ms since 1970. */
export const nextDay = (ms: number): number => (Math.floor(ms / DAY_MS) + 1) * DAY_MS
