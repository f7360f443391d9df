import type { ColumnValues, SentValues, TxId, TxView } from '../../../sources/source.ts'

/** The most UTF-16 units of values and keys together. Beyond it, a row is read until nothing changes it meanwhile. */
const MOST_LENGTH = 4 * 1024 * 1024

/**
 * `gone`: the row was deleted. `unknown`: what is read may belong to another row, or be older than the missing values.
 */
type Values = ColumnValues | 'gone' | 'unknown'

export interface RowKey {
  table: { number: number }
  key: string
}

/**
 * What the stream has sent of rows since they lack values, while such rows are read. A value that a change leaves out
 * is the previous one. So a row that was read at any moment since then becomes the newest one with the newest value of
 * each column that was sent. Without this, a row that changes more often than a read takes to reach its place would
 * never be complete, and no batch final.
 *
 * Values are noted from the first change that left something out. A read can be used when it sees the transaction of
 * that change. One that does not see it may be older than an earlier change of the same transaction: a change may be
 * delivered before snapshots see it, with a synchronous standby much earlier. For rows that lacked values before a
 * copier began, its barrier ensures the same.
 */
export class Completions {
  /** `since` is the transaction of the first change that was noted. */
  readonly #rows = new Map<string, RowKey & { since: TxId; values: Values }>()
  readonly #most: number
  #length = 0
  #full = false

  constructor(most = MOST_LENGTH) {
    this.#most = most
  }

  has(row: RowKey): boolean {
    return this.#rows.has(idOf(row))
  }

  /** A change of transaction `tx` has come. */
  changed(row: RowKey, tx: TxId, { values, whole }: SentValues): void {
    const before = this.#rows.get(idOf(row))?.values
    if (typeof before === 'string' && !whole) this.#set(row, tx, 'unknown')
    else this.#set(row, tx, new Map([...(typeof before === 'object' ? before : []), ...values]))
  }

  gone(row: RowKey, tx: TxId): void {
    this.#set(row, tx, 'gone')
  }

  unknown(row: RowKey, tx: TxId): void {
    this.#set(row, tx, 'unknown')
  }

  /**
   * Returns the values that make a row that was read the newest one, or null when they are not known. `view` says what
   * the read has seen.
   */
  newer(row: RowKey, view: TxView): ColumnValues | null {
    const { values, since } = this.#rows.get(idOf(row)) ?? {}
    if (values === undefined || since === undefined || typeof values === 'string' || !view.sees(since)) return null
    return values
  }

  /** To be called after a read: forgets rows that lack nothing any more. */
  keep(lacks: (row: RowKey) => boolean): void {
    for (const row of this.#rows.values()) {
      if (lacks(row)) continue
      this.#length -= lengthOf(row.key, row.values)
      this.#rows.delete(idOf(row))
    }
  }

  #set({ table, key }: RowKey, tx: TxId, values: Values): void {
    if (this.#full) return
    const id = idOf({ table, key })
    const before = this.#rows.get(id)
    this.#length += lengthOf(key, values) - (before ? lengthOf(key, before.values) : 0)
    this.#rows.set(id, { table, key, since: before?.since ?? tx, values })
    if (this.#length <= this.#most) return
    this.#full = true
    this.#rows.clear()
  }
}

const idOf = ({ table, key }: RowKey): string => `${table.number} ${key}`

function lengthOf(key: string, values: Values): number {
  let length = key.length
  if (typeof values !== 'string')
    for (const value of values.values()) length += typeof value === 'string' ? value.length : 1
  return length
}
