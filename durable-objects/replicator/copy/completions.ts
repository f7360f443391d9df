import { isVisible, type Snapshot, type TableDecoder, type Tuple, type TupleValue } from '../../../sources/postgres/index.ts'

/** UTF-16 units of texts and keys together. Beyond it rows are read until nothing changes them meanwhile. */
const MOST_LENGTH = 4 * 1024 * 1024

/** `gone`: it was deleted. `unknown`: what is read of it may be of another row, or older than what it lacks. */
type Texts = Map<string, TupleValue> | 'gone' | 'unknown'

export interface RowKey {
  table: { number: number }
  key: string
}

/**
 * What the stream has said of rows since they lack values, while such rows are read. A value that a change leaves out is the one of before, so a row that was read
 * at any moment since then becomes the row of now by the newest text of each column that came. Without this a row that changes more often than a read takes to come
 * to its place would never be complete, and no batch final.
 *
 * It is noted from the first change on that left something out, and a read counts that sees the transaction of that change. One that does not see it may be older
 * than what the same transaction had changed before: a change may be delivered before snapshots see it, with a synchronous standby much earlier. Of rows that lacked
 * values before a reader began, its barrier says the same.
 */
export class Completions {
  /** `since`: the transaction of the first change that was noted. */
  readonly #rows = new Map<string, RowKey & { since: bigint; texts: Texts }>()
  readonly #most: number
  #length = 0
  #full = false

  constructor(most = MOST_LENGTH) {
    this.#most = most
  }

  has(row: RowKey): boolean {
    return this.#rows.has(idOf(row))
  }

  /** `xid`: of the transaction, as in `isVisible`. */
  changed(row: RowKey, xid: bigint, decoder: TableDecoder, tuple: Tuple): void {
    const before = this.#rows.get(idOf(row))?.texts
    const read = [...decoder.columns.entries()].filter(([i]) => decoder.reads(i))
    const sent = read.flatMap(([i, name]): [string, TupleValue][] => (tuple[i] === undefined ? [] : [[name, tuple[i]]]))
    const whole = sent.length === read.length
    if (typeof before === 'string' && !whole) this.#set(row, xid, 'unknown')
    else this.#set(row, xid, new Map([...(typeof before === 'object' ? before : []), ...sent]))
  }

  gone(row: RowKey, xid: bigint): void {
    this.#set(row, xid, 'gone')
  }

  unknown(row: RowKey, xid: bigint): void {
    this.#set(row, xid, 'unknown')
  }

  /** The row as it is now; null when that is not known. `names`: of the columns of what was read with `snapshot`. */
  complete(row: RowKey, names: readonly string[], read: Tuple, snapshot: Snapshot): Tuple | null {
    const { texts, since } = this.#rows.get(idOf(row)) ?? {}
    if (texts === undefined || since === undefined || typeof texts === 'string' || !isVisible(snapshot, since)) return null
    return names.map((name, i) => (texts.has(name) ? texts.get(name) : read[i]))
  }

  /** Behind a read: rows that lack nothing any more begin anew. */
  keep(lacks: (row: RowKey) => boolean): void {
    for (const row of this.#rows.values()) {
      if (lacks(row)) continue
      this.#length -= lengthOf(row.key, row.texts)
      this.#rows.delete(idOf(row))
    }
  }

  #set({ table, key }: RowKey, xid: bigint, texts: Texts): void {
    if (this.#full) return
    const id = idOf({ table, key })
    const before = this.#rows.get(id)
    this.#length += lengthOf(key, texts) - (before ? lengthOf(key, before.texts) : 0)
    this.#rows.set(id, { table, key, since: before?.since ?? xid, texts })
    if (this.#length <= this.#most) return
    this.#full = true
    this.#rows.clear()
  }
}

const idOf = ({ table, key }: RowKey): string => `${table.number} ${key}`

function lengthOf(key: string, texts: Texts): number {
  let length = key.length
  if (typeof texts !== 'string') for (const text of texts.values()) length += typeof text === 'string' ? text.length : 1
  return length
}
