import { rowsWritten, sum, type Counts } from './counts.ts'

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

/** The number of incoming WebSocket messages of an object that are billed as one request. */
export const MESSAGES_A_REQUEST = 20

export const objectRequests = (counts: Counts): number =>
  sum(counts, /^(bucket|relay|replicator) (calls|requests|alarms)$/) +
  sum(counts, / socket messages$/) / MESSAGES_A_REQUEST

export interface Bill {
  rowsWritten: number
  rowsRead: number
  requests: number
  workerRequests: number
  dollars: number
}

/** Returns the bill for the counts, times `factor`. */
export function bill(counts: Counts, factor = 1): Bill {
  const each = {
    rowsWritten: rowsWritten(counts) * factor,
    rowsRead: sum(counts, / rows read$/) * factor,
    requests: objectRequests(counts) * factor,
    workerRequests: sum(counts, /^worker requests$/) * factor,
  }
  const dollars =
    (each.rowsWritten * PRICES.rowsWritten +
      each.rowsRead * PRICES.rowsRead +
      each.requests * PRICES.requests +
      each.workerRequests * PRICES.workerRequests) /
    1e6
  return { ...each, dollars }
}

export const storageDollars = (bytes: number): number => (bytes / 1e9) * PRICES.storage
