/** Where a batch has a part. */
export interface SlotRow {
  slot: number
  batch: number
  part: number
}

/**
 * Which slots hold the parts of the batches that are not committed, and which may be written over. It is all of a large transaction that stays in memory:
 * three numbers for each part of 0.5 MB.
 */
export class OutboxSlots {
  /** Parts of all batches, in order. */
  #slots: number[] = []
  /** Where the parts of each batch begin, from batch `#first` on. */
  #starts: number[] = []
  #first: number
  readonly #used: boolean[] = []
  /** No slot below is free. */
  #lowest = 1

  /** `dropped`: the newest batch that is committed; all of `rows` are of newer ones. */
  constructor(dropped: number, rows: readonly SlotRow[]) {
    this.#first = dropped + 1
    if (rows.length === 0) return
    let first = Infinity
    let newest = 0
    for (const { batch } of rows) {
      first = Math.min(first, batch)
      newest = Math.max(newest, batch)
    }
    this.#first = first
    const counts = new Array<number>(newest - first + 1).fill(0)
    for (const { batch, part } of rows) counts[batch - first] = Math.max(counts[batch - first] ?? 0, part + 1)
    let start = 0
    for (const count of counts) {
      this.#starts.push(start)
      start += count
    }
    this.#slots = new Array<number>(start).fill(0)
    for (const { slot, batch, part } of rows) {
      this.#slots[(this.#starts[batch - first] ?? 0) + part] = slot
      this.#used[slot] = true
    }
  }

  /** The newest batch that was stored, also when it is committed. */
  get newest(): number {
    return this.#first + this.#starts.length - 1
  }

  get oldest(): number {
    return this.#first
  }

  /** Slots of a batch in the order of its parts. */
  of(batch: number): number[] {
    const at = batch - this.#first
    const start = this.#starts[at]
    return start === undefined ? [] : this.#slots.slice(start, this.#starts[at + 1])
  }

  begin(): number {
    this.#starts.push(this.#slots.length)
    return this.newest
  }

  /** The lowest slot that may be written over, for the next part of the newest batch. */
  take(): number {
    while (this.#used[this.#lowest]) this.#lowest++
    const slot = this.#lowest
    this.#used[slot] = true
    this.#slots.push(slot)
    return slot
  }

  /** All batches up to this one are committed. Answers the highest slot that became free, 0 for none. */
  drop(upTo: number): number {
    const batches = Math.min(upTo - this.#first + 1, this.#starts.length)
    if (batches <= 0) return 0
    const parts = this.#starts[batches] ?? this.#slots.length
    let highest = 0
    for (const slot of this.#slots.splice(0, parts)) {
      this.#used[slot] = false
      this.#lowest = Math.min(this.#lowest, slot)
      highest = Math.max(highest, slot)
    }
    this.#starts.splice(0, batches)
    for (let at = 0; at < this.#starts.length; at++) this.#starts[at] = (this.#starts[at] ?? 0) - parts
    this.#first += batches
    return highest
  }
}
