import type { ColumnValues, SentValues, TxId, TxView } from '../../../sources/source.ts'

/** UTF-16 units of values and keys together. Beyond it rows are read until nothing changes them meanwhile. */
const MOST_LENGTH = 4 * 1024 * 1024

/** `gone`: it was deleted. `unknown`: what is read of it may be of another row, or older than what it lacks. */
type Values = ColumnValues | 'gone' | 'unknown'

export interface RowKey {
  table: { number: number }
  key: string
}

/**
 * What the stream has said of rows since they lack values, while such rows are read. A value that a change leaves out is the one of before, so a row that was read
 * at any moment since then becomes the row of now by the newest value of each column that came. Without this a row that changes more often than a read takes to come
 * to its place would never be complete, and no batch final.
 *
 * It is noted from the first change on that left something out, and a read counts that sees the transaction of that change. One that does not see it may be older
 * than what the same transaction had changed before: a change may be delivered before snapshots see it, with a synchronous standby much earlier. Of rows that lacked
 * values before a reader began, its barrier says the same.
 */
export class Completions {
  /** `since`: the transaction of the first change that was noted. */
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

  /** `tx`: the transaction of the change. */
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

  /** What makes a row that was read the row of now; null when that is not known. `view`: what the read has seen. */
  newer(row: RowKey, view: TxView): ColumnValues | null {
    const { values, since } = this.#rows.get(idOf(row)) ?? {}
    if (values === undefined || since === undefined || typeof values === 'string' || !view.sees(since)) return null
    return values
  }

  /** Behind a read: rows that lack nothing any more begin anew. */
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
  if (typeof values !== 'string') for (const value of values.values()) length += typeof value === 'string' ? value.length : 1
  return length
}
