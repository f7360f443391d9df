import { PRICES } from '../protocol/dollars.ts'
import { rowsWritten, sum, type Counts } from './counts.ts'

export { PRICES }

/** The number of incoming WebSocket messages of an object that are billed as one request. */
export const MESSAGES_A_REQUEST = 20

export const objectRequests = (counts: Counts): number =>
  sum(counts, /^(bucket|relay|replicator|census|directory) (calls|requests|alarms)$/) +
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
