import { type Digester, noRows, rowKey, type Part, type RowsSum } from '../../../protocol/digest.ts'
import { strongHash } from '../../../protocol/strong-hash.ts'
import type { TableName } from '../../../protocol/tables.ts'
import { subkeyOf, weakSubkeyOf } from '../ingest/batch.ts'
import { MAILBOX_SUBKEY, MAILBOX_TABLE, mailboxData } from '../writes/mailboxes.ts'
import type { Output, RowRef } from '../store/row-state.ts'

/** Some rows of a bucket, of which sums are compared, or, when they are few, each. */
export interface Unit extends Part {
  bucket: number
  name: string
  /** What the bucket belongs to. */
  definition: string
  split: number
  list: boolean
}

export interface ExpectedRow {
  hash: string
  ref: RowRef
}

/** What row state says of a unit at this moment. */
export class Expected {
  readonly unit: Unit
  readonly sums: RowsSum[]
  readonly rows = new Map<string, ExpectedRow>()
  /** Rows that got an op since it was emptied last. */
  readonly changed = new Set<string>()

  readonly #digester: Digester

  constructor(unit: Unit, digester: Digester) {
    this.unit = unit
    this.#digester = digester
    this.sums = Array.from({ length: unit.split }, noRows)
  }

  count(key: string, row: ExpectedRow, sign: 1 | -1): void {
    const sub = this.#digester.subpartOf(key, this.unit, this.unit.split)
    const sum = sub === null ? undefined : this.sums[sub]
    if (!sum) return
    this.#digester.addRow(sum, key, row.hash, sign)
    if (!this.unit.list) return
    if (sign === 1) {
      this.rows.set(key, row)
      return
    }
    // The row of a table that replaces this one may stand there by now.
    const counted = this.rows.get(key)?.ref
    if (counted?.t === row.ref.t && counted.key === row.ref.key) this.rows.delete(key)
  }

  touch(key: string): void {
    if (this.unit.list && this.#digester.subpartOf(key, this.unit, 1) !== null) this.changed.add(key)
  }
}

/**
 * What row state says that some units hold, while it changes: rows are counted in their order, and a row that changes behind the place that the count
 * has come to is counted anew.
 */
export class Expectation {
  readonly #units = new Map<number, Expected[]>()
  readonly #nameOf: (t: number) => TableName
  /** The last row counted; null: all are. */
  #at: RowRef | null = { t: -1, key: '' }

  constructor(units: readonly Unit[], digester: Digester, nameOf: (t: number) => TableName) {
    this.#nameOf = nameOf
    for (const unit of units) {
      const expected = new Expected(unit, digester)
      const others = this.#units.get(unit.bucket)
      if (others) others.push(expected)
      else this.#units.set(unit.bucket, [expected])
    }
  }

  get all(): Expected[] {
    return [...this.#units.values()].flat()
  }

  /** Where the count goes on; null when it is complete. */
  get at(): RowRef | null {
    return this.#at
  }

  /** The next rows in order, and whether there are more. */
  count(rows: readonly { ref: RowRef; outputs: readonly Output[] }[], more: boolean): void {
    for (const { ref, outputs } of rows) this.#add(ref, outputs, 1)
    this.#at = more ? (rows.at(-1)?.ref ?? this.#at) : null
  }

  /** A row that is being stored. `before` is asked for when it was counted. */
  changes(ref: RowRef, before: () => readonly Output[], now: readonly Output[]): void {
    if (this.#units.size === 0 || (this.#at !== null && isBehind(ref, this.#at))) return
    const then = before()
    // What stays the same gets no op.
    this.#add(ref, without(then, now), -1)
    this.#add(ref, without(now, then), 1)
  }

  /** It was compared, and need not be followed any more. */
  forget({ unit }: Expected): void {
    const left = this.#units.get(unit.bucket)?.filter((each) => each.unit !== unit) ?? []
    if (left.length > 0) this.#units.set(unit.bucket, left)
    else this.#units.delete(unit.bucket)
  }

  #add(ref: RowRef, outputs: readonly Output[], sign: 1 | -1): void {
    for (const output of outputs) {
      const units = this.#units.get(output.bucket)
      if (!units) continue
      const { key, hash } = contentOf(ref, output, this.#nameOf)
      for (const unit of units) {
        unit.count(key, { hash, ref }, sign)
        unit.touch(key)
      }
    }
  }
}

function without(outputs: readonly Output[], others: readonly Output[]): Output[] {
  const texts = new Set(others.map((each) => JSON.stringify([each.bucket, each.type, each.id, each.hash, each.weakSubkey])))
  return outputs.filter((each) => !texts.has(JSON.stringify([each.bucket, each.type, each.id, each.hash, each.weakSubkey])))
}

/** What an output looks like in its bucket. */
function contentOf(ref: RowRef, { type, id, hash, weakSubkey }: Output, nameOf: (t: number) => TableName): { key: string; hash: string } {
  if (ref.t === MAILBOX_TABLE.number) return { key: rowKey(type, id, MAILBOX_SUBKEY), hash: strongHash(mailboxData(id, hash)) }
  const subkey = (weakSubkey ? weakSubkeyOf : subkeyOf)(nameOf(ref.t), ref.key)
  return { key: rowKey(type, id, subkey), hash }
}

/** SQLite orders texts by their bytes. */
function isBehind(a: RowRef, b: RowRef): boolean {
  if (a.t !== b.t) return a.t > b.t
  return Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)) > 0
}
