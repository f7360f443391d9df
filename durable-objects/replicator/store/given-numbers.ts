import type { Database } from '../../shared/database.ts'

/**
 * Numbers that were given out and that nothing has any more: they are not given again, because what is under way (a comparison that has passed a number) would take the
 * new one for the old one. What still has a number says so itself, so this is written only when something goes: code of before it has nothing of that, and gives the
 * numbers again.
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

  /** One of them goes, and `last` is the highest that was given. In a transaction. */
  forgotten(number: number, last: number): void {
    if (number <= this.#highest) return
    this.#highest = last
    this.#db.run('INSERT OR REPLACE INTO state VALUES (?, ?)', this.#key, JSON.stringify(last))
  }
}
