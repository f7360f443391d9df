import type { DifferenceCode, VerifyStatus } from '../../../protocol/verification.ts'
import { newCopy, type CopyState } from '../copy/copy-state.ts'

/** A comparison as it is stored: how far it is, and what it has found. */
export interface Verifying {
  number: number
  repair: boolean
  state: VerifyStatus['state']
  phase: VerifyStatus['phase']
  /** Tables up to this number are compared. */
  table: number
  /** How far a table after those is; null when none is begun. */
  copy: (CopyState & { number: number }) | null
  /** Buckets up to this number are compared. */
  bucket: number
  rows: number
  buckets: number
  counts: Partial<Record<DifferenceCode, number>>
  mended: number
  started: string
  ended: string | null
  error: { code: string; message: string } | null
  /** Who requested it. Missing in what an earlier version stored. */
  by?: string
  /** The buckets that alone were compared. Only an earlier version stored it. */
  only?: readonly number[]
}

export const newVerifying = (number: number, repair: boolean, started: string, by?: string): Verifying => ({
  ...(by === undefined ? {} : { by }),
  number,
  repair,
  started,
  state: 'running',
  phase: 'source',
  table: 0,
  copy: null,
  bucket: 0,
  rows: 0,
  buckets: 0,
  counts: {},
  mended: 0,
  ended: null,
  error: null,
})

/** Returns the number of differences that were found. */
export const foundIn = ({ counts }: Pick<Verifying, 'counts'>): number =>
  Object.values(counts).reduce((sum, n) => sum + n, 0)

/**
 * Returns how far the table of this number is. The one that was being compared may not be followed any more: its
 * progress says nothing of another.
 */
export function comparedSoFar(now: Verifying | null, number: number): CopyState {
  if (!now || number <= now.table) return { ...newCopy(true), state: 'done' }
  return now.copy?.number === number ? now.copy : newCopy(true)
}

/** Returns a share from 0 to 1. Half of it is the tables, half the buckets. */
export function progressOf(
  { state, phase, table, copy, bucket }: Verifying,
  tables: readonly number[],
  lastBucket: number,
): number {
  if (state === 'done' || phase === 'mending') return 1
  if (phase === 'buckets') return 0.5 + (lastBucket === 0 ? 0.5 : Math.min(1, bucket / lastBucket) / 2)
  const done = tables.filter((number) => number <= table).length
  const part = copy === null || copy.blocks === 0 ? 0 : copy.block / copy.blocks
  return tables.length === 0 ? 0 : Math.min(1, (done + part) / tables.length) / 2
}

export interface VerifyContext {
  /** Numbers of the tables that are followed. */
  tables: readonly number[]
  /** The number of the last bucket. */
  lastBucket: number
  waitingFor: string | null
}

export function verifyStatus(verifying: Verifying, { tables, lastBucket, waitingFor }: VerifyContext): VerifyStatus {
  const { number, repair, state, phase, rows, buckets, counts, mended, started, ended, error, by } = verifying
  return {
    number,
    repair,
    state,
    phase,
    progress: progressOf(verifying, tables, lastBucket),
    waitingFor,
    rows,
    buckets,
    counts,
    found: foundIn(verifying),
    mended,
    started,
    ended,
    error,
    ...(by === undefined ? {} : { by }),
  }
}
