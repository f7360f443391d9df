import { hash64 } from './hash.ts'
import { hashWords } from './strong-hash.ts'

// The content of a bucket as sums that do not depend on order. The replicator and the bucket compute them
// independently, and compare.

/** Sums over some rows of a bucket. */
export interface RowsSum {
  rows: number
  /** Sums of the four words of each row's hash, modulo 2^32. `c` and `d` are 0 in sums without a key. */
  a: number
  b: number
  c: number
  d: number
}

/** The rows whose hash falls into one of `parts` parts. Part 0 of 1 is all rows. */
export interface Part {
  part: number
  parts: number
}

/** Returns what identifies a row within a bucket. */
export const rowKey = (objectType: string, objectId: string, subkey: string): string =>
  JSON.stringify([objectType, objectId, subkey])

export const noRows = (): RowsSum => ({ rows: 0, a: 0, b: 0, c: 0, d: 0 })

export const equalSums = (x: RowsSum, y: RowsSum): boolean =>
  x.rows === y.rows && x.a === y.a && x.b === y.b && x.c === y.c && x.d === y.d

export const addSums = (x: RowsSum, y: RowsSum): RowsSum => ({
  rows: x.rows + y.rows,
  a: (x.a + y.a) >>> 0,
  b: (x.b + y.b) >>> 0,
  c: (x.c + y.c) >>> 0,
  d: (x.d + y.d) >>> 0,
})

/** Returns the part that is number `sub` when a part is divided as in `subpartOf`. */
export const subpart = ({ part, parts }: Part, split: number, sub: number): Part => ({
  part: part + parts * sub,
  parts: parts * split,
})

/**
 * The hashes of one comparison. Each comparison has its own random key, so that nobody can choose rows whose sums are
 * equal or that all fall into one part. Without a key, as a replicator of message version 1 asks, they are the 64 bits
 * of `hash64`.
 */
export class Digester {
  readonly #key: string | undefined

  constructor(key: string | undefined) {
    this.#key = key
  }

  /** Adds a row and the hash of its data text to a sum, or subtracts them. */
  addRow(sum: RowsSum, key: string, hash: string, sign: 1 | -1): void {
    const [a, b, c, d] = this.#words('row', `${key} ${hash}`)
    sum.rows += sign
    sum.a = (sum.a + sign * a) >>> 0
    sum.b = (sum.b + sign * b) >>> 0
    sum.c = (sum.c + sign * c) >>> 0
    sum.d = (sum.d + sign * d) >>> 0
  }

  /** Returns in which of `split` subdivisions of the part a row is, or null when it is in another part. */
  subpartOf(key: string, { part, parts }: Part, split: number): number | null {
    if (parts === 1 && split === 1) return 0
    const [hash] = this.#words('part', key)
    return hash % parts === part ? Math.floor(hash / parts) % split : null
  }

  /**
   * Returns the pass of a row: a second, independent division, for code that must not hold all rows in memory at once.
   */
  passOf(key: string, passes: number): number {
    return passes === 1 ? 0 : this.#words('part', key)[1] % passes
  }

  #words(use: 'row' | 'part', text: string): readonly [number, number, number, number] {
    if (this.#key !== undefined) return hashWords(`${this.#key} ${use} ${text}`)
    const hash = hash64(text)
    return [Number.parseInt(hash.slice(0, 8), 16), Number.parseInt(hash.slice(8), 16), 0, 0]
  }
}
