import { createHash } from 'node:crypto'
import type { OpId } from '../../protocol/ops.ts'
import { opIdOf, parseOp, rowKeyOf, splitOps } from '../../protocol/op-text.ts'
import type { Page } from './storage.ts'

export interface RowsLimits {
  /** Distinct texts, and their UTF-16 units. More is `many`. */
  rows: number
  length: number
  /** UTF-16 units of the keys that one pass over the log remembers. */
  keysLength: number
  /** Passes at most. A log that needs more of them is `many` as well. */
  passes: number
}

export const ROWS_LIMITS: Omit<RowsLimits, 'rows'> = { length: 4 * 1024 * 1024, keysLength: 4 * 1024 * 1024, passes: 16 }

/**
 * The distinct data texts of the current rows, in no particular order; null when there are more than the limits allow. The log is read from its newest
 * op to its oldest: the first op that is met of a row is what became of it. So what is found is never taken back, and the reading stops as soon
 * as it is too much. What must be remembered are keys, of rows that are gone as well; where these are too many, each pass looks at a share of them.
 *
 * `pages`: from the newest one that has an op up to the checkpoint.
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

/** Up to a CLEAR, which takes away everything before it. */
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

/** Not to be chosen by whoever names rows: all keys in one share would be as many as without shares. */
const shareOf = (key: string, shares: number): number => createHash('sha256').update(key).digest().readUInt32LE() % shares
