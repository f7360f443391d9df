import type { SqlValue } from '../../types.ts'

// What of a result has changed, from one run of its query to the next. Whoever shows it keeps the rows; here only their
// hashes are kept.

/** A row as SQLite gives it, in the order of the columns. */
export type RawRow = readonly SqlValue[]

/** A part of the new result: rows of the one before, as they were, or rows with new content. */
export type Segment = { from: number; count: number } | { rows: RawRow[] }

/** The new result, in parts. */
export type Patch = readonly Segment[]

/** 53 bits of each row. */
export type Hashes = readonly number[]

/**
 * Which rows of a new result, asked for in its order, were in the one before. Each of those answers for one row: of
 * rows that are there more often than before the others are new.
 */
export function knownOf(before: Hashes): (hash: number) => boolean {
  let at = 0
  let rest: Map<number, number> | null = null
  return (hash) => {
    // Most results begin as they did.
    if (rest === null && before[at] === hash) {
      at++
      return true
    }
    rest ??= counted(before.slice(at))
    const count = rest.get(hash) ?? 0
    rest.set(hash, count - 1)
    return count > 0
  }
}

function counted(hashes: Hashes): Map<number, number> {
  const counts = new Map<number, number>()
  for (const hash of hashes) counts.set(hash, (counts.get(hash) ?? 0) + 1)
  return counts
}

/**
 * Null: nothing has changed. A row that has moved counts as one that was there, so its content is not sent again.
 * `rows`: the others, by hash.
 */
export function diff(before: Hashes, after: Hashes, rows: ReadonlyMap<number, RawRow>): Patch | null {
  let head = 0
  while (head < before.length && head < after.length && before[head] === after[head]) head++
  if (head === before.length && head === after.length) return null
  let tail = 0
  while (tail < before.length - head && tail < after.length - head && before.at(-1 - tail) === after.at(-1 - tail))
    tail++
  const places = new Map<number, number[]>()
  for (let at = before.length - tail - 1; at >= head; at--) {
    const of = before[at] ?? 0
    const known = places.get(of)
    if (known) known.push(at)
    else places.set(of, [at])
  }
  const segments: Segment[] = []
  keep(segments, 0, head)
  for (let at = head; at < after.length - tail; at++) {
    const of = after[at] ?? 0
    const from = places.get(of)?.pop()
    if (from === undefined) add(segments, rowOf(of, rows))
    else keep(segments, from, 1)
  }
  keep(segments, before.length - tail, tail)
  return segments
}

function keep(segments: Segment[], from: number, count: number): void {
  if (count === 0) return
  const last = segments.at(-1)
  if (last && 'from' in last && last.from + last.count === from) last.count += count
  else segments.push({ from, count })
}

function add(segments: Segment[], row: RawRow): void {
  const last = segments.at(-1)
  if (last && 'rows' in last) last.rows.push(row)
  else segments.push({ rows: [row] })
}

/** All rows of a result. */
export const wholeOf = (hashes: Hashes, rows: ReadonlyMap<number, RawRow>): Patch => [
  { rows: hashes.map((of) => rowOf(of, rows)) },
]

function rowOf(hash: number, rows: ReadonlyMap<number, RawRow>): RawRow {
  const row = rows.get(hash)
  if (row === undefined) throw new Error('a row of a live query was not read')
  return row
}

/** The new result of the old one; rows that have not changed are the same objects. */
export function applyPatch<T>(before: readonly T[], patch: Patch, made: (row: RawRow) => T): T[] {
  return patch.flatMap((segment) =>
    'rows' in segment ? segment.rows.map(made) : before.slice(segment.from, segment.from + segment.count),
  )
}
