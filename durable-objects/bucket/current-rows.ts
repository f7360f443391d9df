import { createHash } from 'node:crypto'
import type { OpId } from '../../protocol/ops.ts'
import { opIdOf, parseOp, rowKeyOf, splitOps } from '../../protocol/op-text.ts'
import type { Page } from './storage.ts'

export interface RowsLimits {
  /** Limits of distinct texts, and of their UTF-16 units. More than that is `many`. */
  rows: number
  length: number
  /** UTF-16 units of the keys that one pass over the log remembers. */
  keysLength: number
  /** The largest number of passes. A log that needs more is `many` as well. */
  passes: number
}

export const ROWS_LIMITS: Omit<RowsLimits, 'rows'> = {
  length: 4 * 1024 * 1024,
  keysLength: 4 * 1024 * 1024,
  passes: 16,
}

/**
 * Returns the distinct data texts of the current rows in no particular order, or null when there are more than the
 * limits allow. The log is read from its newest op to its oldest: the first op of a row is its current state. So
 * nothing that is found is ever taken back, and reading stops as soon as there is too much. The keys must be
 * remembered, including those of removed rows; when there are too many, each pass handles a share of them.
 *
 * `pages` begins with the newest one that has an op up to the checkpoint.
 */
export function currentRows(pages: () => Iterable<Page>, checkpoint: OpId, limits: RowsLimits): string[] | null {
  for (let passes = 1; passes <= limits.passes; passes *= 2) {
    const found = inPasses(pages, checkpoint, limits, passes)
    if (found !== 'remembers too much') return found
  }
  return null
}

function inPasses(
  pages: () => Iterable<Page>,
  checkpoint: OpId,
  limits: RowsLimits,
  passes: number,
): string[] | null | 'remembers too much' {
  const rows = new Set<string>()
  let length = 0
  for (let pass = 0; pass < passes; pass++) {
    const met = new Set<string>()
    let keysLength = 0
    for (const text of newestFirst(pages(), checkpoint)) {
      const key = rowKeyOf(text)
      if (key === null || met.has(key) || (passes > 1 && shareOf(key, passes) !== pass)) continue
      met.add(key)
      keysLength += key.length
      if (keysLength > limits.keysLength) return 'remembers too much'
      const op = parseOp(text)
      if (op.op !== 'PUT' || rows.has(op.data)) continue
      rows.add(op.data)
      length += op.data.length
      if (rows.size > limits.rows || length > limits.length) return null
    }
  }
  return [...rows]
}

/** Visits ops down to a CLEAR, which removes everything before it. */
function* newestFirst(pages: Iterable<Page>, checkpoint: OpId): Iterable<string> {
  for (const page of pages) {
    const texts = splitOps(page.body)
    for (let i = texts.length - 1; i >= 0; i--) {
      const text = texts[i] ?? ''
      if (opIdOf(text) > checkpoint) continue
      if (isClear(text)) return
      yield text
    }
  }
}

const isClear = (text: string): boolean => text.startsWith('"op":"CLEAR"', text.indexOf(',') + 1)

/** A random seed, so that nobody can choose keys which all fall into one share. */
const shareOf = (key: string, shares: number): number =>
  createHash('sha256').update(key).digest().readUInt32LE() % shares
