import { type Digester, noRows, rowKey, type Part, type RowsSum } from '../../../protocol/digest.ts'
import { strongHash } from '../../../protocol/strong-hash.ts'
import type { TableName } from '../../../protocol/tables.ts'
import { subkeyOf, weakSubkeyOf } from '../ingest/outputs.ts'
import { MAILBOX_SUBKEY, MAILBOX_TABLE, mailboxData } from '../writes/mailboxes.ts'
import type { Output, RowRef } from '../store/row-state.ts'

/** Some rows of a bucket. Their sums are compared, or each of them when they are few. */
export interface BucketRange extends Part {
  bucket: number
  name: string
  /** The definition that the bucket belongs to. */
  definition: string
  /** The number of parts that have a sum each. */
  split: number
  /** Each row is compared. */
  list: boolean
}

export interface ExpectedRow {
  hash: string
  ref: RowRef
}

/** What row state says of a range at this moment. */
export class Expected {
  readonly range: BucketRange
  readonly sums: RowsSum[]
  readonly rows = new Map<string, ExpectedRow>()
  /** Keys of rows that got an op since this was cleared last. */
  readonly changed = new Set<string>()
  readonly #digester: Digester

  constructor(range: BucketRange, digester: Digester) {
    this.range = range
    this.#digester = digester
    this.sums = Array.from({ length: range.split }, noRows)
  }

  count(key: string, row: ExpectedRow, sign: 1 | -1): void {
    const sub = this.#digester.subpartOf(key, this.range, this.range.split)
    const sum = sub === null ? undefined : this.sums[sub]
    if (!sum) return
    this.#digester.addRow(sum, key, row.hash, sign)
    if (!this.range.list) return
    if (sign === 1) {
      this.rows.set(key, row)
      return
    }
    // A row of the table that replaces this one may have taken its place.
    const counted = this.rows.get(key)?.ref
    if (counted?.t === row.ref.t && counted.key === row.ref.key) this.rows.delete(key)
  }

  touch(key: string): void {
    if (this.range.list && this.#digester.subpartOf(key, this.range, 1) !== null) this.changed.add(key)
  }
}

/**
 * What row state says that some ranges hold, while it changes. Rows are counted in their order; a row that was counted
 * already is counted again when it changes.
 */
export class Expectation {
  /** By the number of the bucket. */
  readonly #expected = new Map<number, Expected[]>()
  readonly #nameOf: (t: number) => TableName
  /** The last row that was counted; null when all are. */
  #at: RowRef | null = { t: -1, key: '' }

  constructor(ranges: readonly BucketRange[], digester: Digester, nameOf: (t: number) => TableName) {
    this.#nameOf = nameOf
    for (const range of ranges) {
      const expected = new Expected(range, digester)
      const others = this.#expected.get(range.bucket)
      if (others) others.push(expected)
      else this.#expected.set(range.bucket, [expected])
    }
  }

  get all(): Expected[] {
    return [...this.#expected.values()].flat()
  }

  /** The count continues after this row; null when it is complete. */
  get at(): RowRef | null {
    return this.#at
  }

  /** The next rows in order, and whether there are more. */
  count(rows: readonly { ref: RowRef; outputs: readonly Output[] }[], more: boolean): void {
    for (const { ref, outputs } of rows) this.#add(ref, outputs, 1)
    this.#at = more ? (rows.at(-1)?.ref ?? this.#at) : null
  }

  /** A row is about to be stored. `before` is called only when the row was counted already. */
  changes(ref: RowRef, before: () => readonly Output[], now: readonly Output[]): void {
    if (this.#expected.size === 0 || (this.#at !== null && isAfter(ref, this.#at))) return
    const then = before()
    // An output that stays the same gets no op.
    this.#add(ref, without(then, now), -1)
    this.#add(ref, without(now, then), 1)
  }

  /** The range is compared, and is not followed any more. */
  forget({ range }: Expected): void {
    const left = this.#expected.get(range.bucket)?.filter((each) => each.range !== range) ?? []
    if (left.length > 0) this.#expected.set(range.bucket, left)
    else this.#expected.delete(range.bucket)
  }

  #add(ref: RowRef, outputs: readonly Output[], sign: 1 | -1): void {
    for (const output of outputs) {
      const ranges = this.#expected.get(output.bucket)
      if (!ranges) continue
      const { key, hash } = contentOf(ref, output, this.#nameOf)
      for (const range of ranges) {
        range.count(key, { hash, ref }, sign)
        range.touch(key)
      }
    }
  }
}

function without(outputs: readonly Output[], others: readonly Output[]): Output[] {
  const texts = new Set(
    others.map((each) => JSON.stringify([each.bucket, each.type, each.id, each.hash, each.weakSubkey])),
  )
  return outputs.filter(
    (each) => !texts.has(JSON.stringify([each.bucket, each.type, each.id, each.hash, each.weakSubkey])),
  )
}

/** Returns the key and the hash that an output has in its bucket. */
function contentOf(
  ref: RowRef,
  { type, id, hash, weakSubkey }: Output,
  nameOf: (t: number) => TableName,
): { key: string; hash: string } {
  if (ref.t === MAILBOX_TABLE.number)
    return { key: rowKey(type, id, MAILBOX_SUBKEY), hash: strongHash(mailboxData(id, hash)) }
  const subkey = (weakSubkey ? weakSubkeyOf : subkeyOf)(nameOf(ref.t), ref.key)
  return { key: rowKey(type, id, subkey), hash }
}

/** Compares rows in the order of row state: SQLite orders texts by their bytes. */
function isAfter(a: RowRef, b: RowRef): boolean {
  if (a.t !== b.t) return a.t > b.t
  return Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)) > 0
}
