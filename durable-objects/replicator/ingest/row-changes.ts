import type { RowChange, TxId } from '../../../sources/source.ts'
import { faultPoint } from '../../shared/fault-points.ts'
import { Completions, type RowKey } from '../copy/completions.ts'
import type { TouchedKeys } from '../copy/touched-keys.ts'
import type { RowImage } from '../store/row-state.ts'
import type { Batch } from './batch.ts'
import type { FollowedTable } from './followed-table.ts'
import type { Changing } from './preload.ts'

/** Rows that lack values, or no longer do, by table and key. */
export type Incomplete = ReadonlyMap<string, { table: FollowedTable; key: string; pending: boolean }>

export interface RowChangesPorts {
  /** The batch that is gathered. */
  batch(): Batch
  /** Whether there are stored rows that lack values, and whether this is one. */
  hasIncomplete(): boolean
  isIncomplete(table: { number: number }, key: string): boolean
  /**
   * Whether what is stored of its rows is what the stream told last, of the columns that it had when this session
   * began.
   */
  hasImages(table: FollowedTable): boolean
}

/**
 * Changes of single rows, into the batch that is gathered. It knows which rows lack values, and remembers what must be
 * known of transactions while rows are read beside the stream.
 */
export class RowChanges {
  readonly #ports: RowChangesPorts
  /** The open transaction. */
  #tx: TxId = 0n
  #incomplete = new Map<string, { table: FollowedTable; key: string; pending: boolean }>()
  #touched: TouchedKeys | null = null
  /** While rows are read. */
  completions: Completions | null = null

  constructor(ports: RowChangesPorts) {
    this.#ports = ports
  }

  begin(tx: TxId): void {
    this.#tx = tx
    this.#touched?.begin(tx)
  }

  /** From now on the keys that transactions touch are remembered. Null ends it. */
  remember(keys: TouchedKeys | null): void {
    this.#touched = keys
    this.completions = keys && new Completions()
  }

  /** Notes that a row lacks values (`pending`), or no longer does. */
  readonly settle = (table: FollowedTable, key: string, pending: boolean): void => {
    if (!pending && this.#incomplete.size === 0 && !this.#ports.hasIncomplete()) return
    this.#incomplete.set(`${table.number} ${key}`, { table, key, pending })
  }

  /** What was noted of rows since the last call, for the batch that is stored. */
  takeIncomplete(): Incomplete {
    const incomplete = this.#incomplete
    this.#incomplete = new Map()
    return incomplete
  }

  /** A change that kills. `left`: what the row had put into buckets is still there. */
  skip({ table, key, before }: Changing, left: boolean): void {
    const batch = this.#ports.batch()
    for (const each of new Set([before ?? key, key])) this.completions?.unknown({ table, key: each }, this.#tx)
    if (left) batch.changes++
    else {
      for (const each of new Set([before ?? key, key])) {
        batch.remove(table, each)
        this.settle(table, each, false)
      }
    }
  }

  apply(change: RowChange, table: FollowedTable): void {
    const { key, before } = change
    faultPoint('change.apply', { at: `${table.name} ${key}` })
    const { counted } = table.source
    const noted = !counted && this.#isNoted(table, key)
    if (noted || (before !== null && before !== key)) this.#note(change, table)
    if (change.op === 'delete') {
      if (counted) this.#ports.batch().removeCopy(table, key)
      else this.#ports.batch().remove(table, key)
      this.settle(table, key, false)
      return
    }
    const oldKey = before ?? key
    const batch = this.#ports.batch()
    const found = change.read(() => this.#kept(change, table, oldKey))
    if (found === null) {
      if (oldKey !== key) {
        batch.remove(table, oldKey)
        this.settle(table, oldKey, false)
      }
      this.settle(table, key, true)
      if (!noted) this.#note(change, table)
      return
    }
    if (counted) {
      if (change.op === 'update' && oldKey === key) return
      if (change.op === 'update') batch.removeCopy(table, oldKey)
      batch.addCopy(table, key, found.row)
      return
    }
    if (oldKey !== key) {
      batch.remove(table, oldKey)
      this.settle(table, oldKey, false)
    }
    batch.upsert(table, key, found.row, found.image)
    this.settle(table, key, false)
  }

  /**
   * What we kept of columns that are still the same. What is kept of a row that lacks values is older than the change
   * which left them out.
   */
  #kept(change: RowChange, table: FollowedTable, key: string): RowImage | null {
    if (change.altered || !this.#ports.hasImages(table) || this.lacks({ table, key })) return null
    return this.#ports.batch().state(table, key)?.image ?? null
  }

  #isNoted(table: FollowedTable, key: string): boolean {
    return this.completions !== null && (this.completions.has({ table, key }) || this.lacks({ table, key }))
  }

  /** For whoever reads rows that lack values. */
  #note(change: RowChange, table: FollowedTable): void {
    const { completions } = this
    if (!completions) return
    const { key, before } = change
    const moved = before !== null && before !== key
    const id = this.#tx
    if (moved) completions.unknown({ table, key: before }, id)
    if (change.op === 'delete') completions.gone({ table, key }, id)
    else if (moved || change.altered) completions.unknown({ table, key }, id)
    else completions.changed({ table, key }, id, change.sent())
  }

  /** Values of the row were left out, and are not known. */
  lacks({ table, key }: RowKey): boolean {
    const noted = this.#incomplete.get(`${table.number} ${key}`)
    return noted ? noted.pending : this.#ports.isIncomplete(table, key)
  }

  /** A transaction touches this row. */
  touch({ table, key, before }: Changing, op: RowChange['op']): void {
    const touched = this.#touched
    if (!touched) return
    touched.touch(table.number, key, op === 'delete' ? -1 : 1)
    if (before !== null) touched.touch(table.number, before, -1)
  }

  /** A transaction touches every row of this table. */
  touchAll(table: { number: number }): void {
    this.#touched?.touchAll(table.number)
  }
}
