import { hash64 } from './hash.ts'

// What a bucket holds, as sums that do not depend on order: the replicator and the bucket come to them on different ways, and compare.

/** Sums over some rows of a bucket. */
export interface RowsSum {
  rows: number
  /** Of the two halves of each row's hash, modulo 2^32. */
  a: number
  b: number
}

/** The rows whose hash lies in one part of `parts`. 0 of 1 is all. */
export interface Part {
  part: number
  parts: number
}

/** A row of a bucket, as its ops tell it apart. */
export const rowKey = (objectType: string, objectId: string, subkey: string): string => JSON.stringify([objectType, objectId, subkey])

/** What a row and its content (`hash64` of the data text) add to a sum. */
export function addRow(sum: RowsSum, key: string, hash: string, sign: 1 | -1): void {
  const text = hash64(`${key} ${hash}`)
  sum.rows += sign
  sum.a = (sum.a + sign * Number.parseInt(text.slice(0, 8), 16)) >>> 0
  sum.b = (sum.b + sign * Number.parseInt(text.slice(8), 16)) >>> 0
}

export const noRows = (): RowsSum => ({ rows: 0, a: 0, b: 0 })

export const equalSums = (x: RowsSum, y: RowsSum): boolean => x.rows === y.rows && x.a === y.a && x.b === y.b

/** In which of `split` further parts a row of the part is; null when it is in another part. */
export function subpartOf(key: string, { part, parts }: Part, split: number): number | null {
  if (parts === 1 && split === 1) return 0
  const hash = Number.parseInt(hash64(key).slice(0, 8), 16)
  return hash % parts === part ? Math.floor(hash / parts) % split : null
}

/** The part of a part that `subpartOf` numbers so. */
export const subpart = ({ part, parts }: Part, split: number, sub: number): Part => ({ part: part + parts * sub, parts: parts * split })

/** A second, independent division, for one that must not remember all rows at a time. */
export const passOf = (key: string, passes: number): number => (passes === 1 ? 0 : Number.parseInt(hash64(key).slice(8), 16) % passes)
