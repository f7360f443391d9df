/** The slot of a part of a batch. */
export interface SlotRow {
  slot: number
  batch: number
  part: number
}

/**
 * Which slots hold the parts of uncommitted batches, and which may be overwritten. Only this stays in memory of a large
 * transaction: three numbers for each part of 0.5 MB.
 */
export class OutboxSlots {
  /** The slots of the parts of all batches, in order. */
  #slots: number[] = []
  /** The index at which the parts of each batch begin, from batch `#first` on. */
  #starts: number[] = []
  #first: number
  readonly #used: boolean[] = []
  /** No slot below this one is free. */
  #lowest = 1

  /** `dropped` is the newest committed batch. All `rows` belong to newer ones. */
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

  /** The newest stored batch, committed or not. */
  get newest(): number {
    return this.#first + this.#starts.length - 1
  }

  get oldest(): number {
    return this.#first
  }

  /** Returns the slots of a batch in the order of its parts. */
  of(batch: number): number[] {
    const at = batch - this.#first
    const start = this.#starts[at]
    return start === undefined ? [] : this.#slots.slice(start, this.#starts[at + 1])
  }

  begin(): number {
    this.#starts.push(this.#slots.length)
    return this.newest
  }

  /** Returns the lowest slot that may be overwritten, for the next part of the newest batch. */
  take(): number {
    while (this.#used[this.#lowest]) this.#lowest++
    const slot = this.#lowest
    this.#used[slot] = true
    this.#slots.push(slot)
    return slot
  }

  /**
   * Frees the slots of all batches up to this one, which are committed. Returns the highest slot that became free, or
   * 0.
   */
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
