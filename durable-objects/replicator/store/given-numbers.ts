import type { Database } from '../../shared/database.ts'

/**
 * Numbers that were used and that nothing has any more. They are not used again, because something in progress (a
 * comparison that has passed a number) would take the new holder for the old one. Existing holders are stored anyway,
 * so this is written only when one is removed. Older code does not have it, and reuses numbers.
 */
export class GivenNumbers {
  readonly #db: Database
  readonly #key: 'givenBuckets' | 'givenTables'
  #highest: number

  constructor(db: Database, key: 'givenBuckets' | 'givenTables') {
    this.#db = db
    this.#key = key
    this.#highest = Number(JSON.parse(String(db.all('SELECT value FROM state WHERE key = ?', key)[0]?.value ?? 0)))
  }

  get highest(): number {
    return this.#highest
  }

  /** Records that a number is free. `last` is the highest that was used. Called in a transaction. */
  forgotten(number: number, last: number): void {
    if (number <= this.#highest) return
    this.#highest = last
    this.#db.run('INSERT OR REPLACE INTO state VALUES (?, ?)', this.#key, JSON.stringify(last))
  }
}
