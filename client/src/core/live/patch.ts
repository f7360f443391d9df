import type { SqlValue } from '../../types.ts'
import { hash } from '../store/hash.ts'

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

export const hashesOf = (rows: readonly RawRow[]): number[] => rows.map((row) => hash(row.map(tagged).join('')))

/** Values of different types or borders never make the same text. */
function tagged(value: SqlValue): string {
  if (value === null) return 'n'
  if (typeof value === 'string') return `s${value.length}:${value}`
  if (value instanceof Uint8Array) return `b${value.length}:${value.join()}`
  return `${typeof value === 'bigint' ? 'i' : Number.isInteger(value) ? 'i' : 'r'}${value};`
}

/** Null: nothing has changed. A row that has moved counts as one that was there, so its content is not sent again. */
export function diff(before: Hashes, after: Hashes, rows: readonly RawRow[]): Patch | null {
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
    const from = places.get(after[at] ?? 0)?.pop()
    if (from === undefined) add(segments, rows[at] ?? [])
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

/** The new result of the old one; rows that have not changed are the same objects. */
export function applyPatch<T>(before: readonly T[], patch: Patch, made: (row: RawRow) => T): T[] {
  return patch.flatMap((segment) =>
    'rows' in segment ? segment.rows.map(made) : before.slice(segment.from, segment.from + segment.count),
  )
}
