/** One at a time, in order: local transactions, queries, applying, everything that uses the database. */
export class Turn {
  #last: Promise<void> = Promise.resolve()

  async run<T>(work: () => T | Promise<T>): Promise<T> {
    const before = this.#last
    const mine = Promise.withResolvers<void>()
    this.#last = mine.promise
    await before
    try {
      return await work()
    } finally {
      mine.resolve()
    }
  }
}
