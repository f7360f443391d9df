import type { DifferenceCode, VerifyStatus } from '../../../protocol/verification.ts'
import { newCopy, type CopyState } from '../copy/copy-state.ts'

/** A comparison as it is stored: how far it is, and what it has found. */
export interface Verifying {
  number: number
  repair: boolean
  state: VerifyStatus['state']
  phase: VerifyStatus['phase']
  /** Tables up to this number are compared; `copy`: how far one behind it is, null: none is begun. */
  table: number
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
  /** Missing in what an earlier version stored. */
  by?: string
  /** Buckets that alone were compared: an earlier version stored it. */
  only?: readonly number[]
}

export const newVerifying = (number: number, repair: boolean, started: string, by?: string): Verifying => ({
  ...(by === undefined ? {} : { by }),
  ...{ number, repair, started, state: 'running', phase: 'source', table: 0, copy: null, bucket: 0, rows: 0, buckets: 0 },
  ...{ counts: {}, mended: 0, ended: null, error: null },
})

export const foundIn = ({ counts }: Pick<Verifying, 'counts'>): number => Object.values(counts).reduce((sum, n) => sum + n, 0)

/** How far the table of this number is. The one that was being compared may not be followed any more: where it was says nothing of another. */
export function comparedSoFar(now: Verifying | null, number: number): CopyState {
  if (!now || number <= now.table) return { ...newCopy(true), state: 'done' }
  return now.copy?.number === number ? now.copy : newCopy(true)
}

/** Half of it is the tables, half the buckets. */
export function progressOf({ state, phase, table, copy, bucket }: Verifying, tables: readonly number[], lastBucket: number): number {
  if (state === 'done' || phase === 'mending') return 1
  if (phase === 'buckets') return 0.5 + (lastBucket === 0 ? 0.5 : Math.min(1, bucket / lastBucket) / 2)
  const done = tables.filter((number) => number <= table).length
  const part = copy === null || copy.blocks === 0 ? 0 : copy.block / copy.blocks
  return tables.length === 0 ? 0 : Math.min(1, (done + part) / tables.length) / 2
}
