import type { Database } from '../database.ts'

export interface BucketRecord {
  number: number
  name: string
}

/** Names kept in memory; more are looked up. */
const CACHED = 20_000

/** The bucket table: row state and outbox refer to buckets by number. */
export class Buckets {
  readonly #db: Database
  readonly #numbers = new Map<string, number>()
  readonly #records = new Map<number, { name: string; definition: string }>()
  #created: { number: number; name: string; definition: string }[] = []
  #next: number

  constructor(db: Database) {
    this.#db = db
    this.#next = Number(db.all('SELECT coalesce(max(number), 0) AS n FROM buckets')[0]?.n ?? 0) + 1
  }

  /** The number of a bucket; a new one is stored by `save`. */
  number(name: string, definition: string): number {
    const known = this.#numbers.get(name)
    if (known !== undefined) return known
    const row = this.#db.all('SELECT number FROM buckets WHERE name = ?', name)[0]
    if (row) return this.#remember(Number(row.number), name, definition)
    const number = this.#next++
    this.#created.push({ number, name, definition })
    return this.#remember(number, name, definition)
  }

  name(number: number): string {
    return this.#record(number).name
  }

  /** What it belongs to: see `ownerOf`. */
  definition(number: number): string {
    return this.#record(number).definition
  }

  #record(number: number): { name: string; definition: string } {
    const known = this.#records.get(number)
    if (known !== undefined) return known
    const row = this.#db.all('SELECT name, definition FROM buckets WHERE number = ?', number)[0]
    if (!row) throw new Error(`there is no bucket ${number}`)
    const record = { name: String(row.name), definition: String(row.definition) }
    this.#remember(number, record.name, record.definition)
    return record
  }

  /** In the transaction that stores the first op of the new buckets. Two rows written for each. */
  save(): void {
    for (const bucket of this.#created) {
      this.#db.run('INSERT INTO buckets VALUES (?, ?, ?, 0)', bucket.number, bucket.name, bucket.definition)
    }
    this.#created = []
  }

  /** Records in order of their numbers, after one. */
  page(after: number, limit: number): (BucketRecord & { definition: string })[] {
    return this.#db
      .all('SELECT number, name, definition FROM buckets WHERE number > ? ORDER BY number LIMIT ?', after, limit)
      .map((row) => ({ number: Number(row.number), name: String(row.name), definition: String(row.definition) }))
  }

  /** The highest number that was given out. */
  get last(): number {
    return this.#next - 1
  }

  /** Nothing refers to them any more. In a transaction. */
  forget(records: readonly BucketRecord[]): void {
    for (const { number, name } of records) {
      this.#db.run('DELETE FROM buckets WHERE number = ?', number)
      this.#numbers.delete(name)
      this.#records.delete(number)
    }
  }

  #remember(number: number, name: string, definition: string): number {
    // Those not stored yet are known from here alone, and they are never the oldest: a batch is far smaller than the cache.
    if (this.#numbers.size >= CACHED) {
      for (const [oldest, n] of this.#numbers) {
        this.#numbers.delete(oldest)
        this.#records.delete(n)
        break
      }
    }
    this.#numbers.set(name, number)
    this.#records.set(number, { name, definition })
    return number
  }
}
