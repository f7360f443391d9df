import type { Database } from '../../shared/database.ts'
import { GivenNumbers } from './given-numbers.ts'

export interface BucketRecord {
  number: number
  name: string
}

/** The most names in memory, and the most UTF-16 units of all of them. Others are read from storage. */
const CACHED = 20_000
const CACHED_LENGTH = 4_000_000
/** The most buckets that are counted for an operator, because counting reads them. */
export const MOST_COUNTED = 100_000

/** The table of buckets. Row state and outbox refer to buckets by number. */
export class Buckets {
  readonly #db: Database
  /** A cache of stored buckets. The oldest entry is evicted first. */
  readonly #numbers = new Map<string, number>()
  readonly #records = new Map<number, { name: string; definition: string }>()
  #cachedLength = 0
  /** New buckets, which are nowhere else until `save`. A batch may have more of them than fit into the cache. */
  readonly #created = new Map<string, { number: number; name: string; definition: string }>()
  readonly #createdByNumber = new Map<number, { name: string; definition: string }>()
  readonly #given: GivenNumbers
  #next: number
  /** The number of stored buckets, or null until it is first needed. */
  #count: number | null = null

  constructor(db: Database) {
    this.#db = db
    this.#given = new GivenNumbers(db, 'givenBuckets')
    const stored = Number(db.all('SELECT coalesce(max(number), 0) AS n FROM buckets')[0]?.n ?? 0)
    this.#next = Math.max(stored, this.#given.highest) + 1
  }

  /** Returns the number of a bucket. `save` stores a new one. */
  number(name: string, definition: string): number {
    const known = this.#created.get(name)?.number ?? this.#numbers.get(name)
    if (known !== undefined) return known
    const row = this.#db.all('SELECT number FROM buckets WHERE name = ?', name)[0]
    if (row) return this.#remember(Number(row.number), name, definition)
    const number = this.#next++
    this.#created.set(name, { number, name, definition })
    this.#createdByNumber.set(number, { name, definition })
    return number
  }

  /** Returns stored buckets whose numbers are above this one, in their order. */
  after(number: number, limit: number): BucketRecord[] {
    return this.#db
      .all('SELECT number, name FROM buckets WHERE number > ? ORDER BY number LIMIT ?', number, limit)
      .map((row) => ({ number: Number(row.number), name: String(row.name) }))
  }

  has(number: number): boolean {
    return (
      this.#createdByNumber.has(number) ||
      this.#records.has(number) ||
      this.#db.all('SELECT 1 FROM buckets WHERE number = ?', number).length > 0
    )
  }

  name(number: number): string {
    return this.#record(number).name
  }

  /** Returns the definition of a bucket, see `ownerOf`. */
  definition(number: number): string {
    return this.#record(number).definition
  }

  #record(number: number): { name: string; definition: string } {
    const known = this.#createdByNumber.get(number) ?? this.#records.get(number)
    if (known !== undefined) return known
    const row = this.#db.all('SELECT name, definition FROM buckets WHERE number = ?', number)[0]
    if (!row) throw new Error(`there is no bucket ${number}`)
    const record = { name: String(row.name), definition: String(row.definition) }
    this.#remember(number, record.name, record.definition)
    return record
  }

  /** Stores new buckets. Called in the transaction that stores their first ops. Writes two rows for each. */
  save(): void {
    for (const { number, name, definition } of this.#created.values()) {
      this.#db.run('INSERT INTO buckets VALUES (?, ?, ?, 0)', number, name, definition)
      this.#remember(number, name, definition)
    }
    if (this.#count !== null) this.#count += this.#created.size
    this.#created.clear()
    this.#createdByNumber.clear()
  }

  /** Returns records in the order of their numbers, after the number `after`. */
  page(after: number, limit: number): (BucketRecord & { definition: string })[] {
    return this.#db
      .all('SELECT number, name, definition FROM buckets WHERE number > ? ORDER BY number LIMIT ?', after, limit)
      .map((row) => ({ number: Number(row.number), name: String(row.name), definition: String(row.definition) }))
  }

  /**
   * The number of stored buckets, at most `MOST_COUNTED`. The first call counts them, which reads them; afterwards it
   * is maintained.
   */
  get count(): number {
    this.#count ??= Number(
      this.#db.all('SELECT count(*) AS n FROM (SELECT 1 FROM buckets LIMIT ?)', MOST_COUNTED)[0]?.n ?? 0,
    )
    return Math.min(this.#count, MOST_COUNTED)
  }

  /** The highest number that was used. */
  get last(): number {
    return this.#next - 1
  }

  /**
   * Deletes records to which nothing refers any more. Called in a transaction. Matches the name as well, because code
   * older than `GivenNumbers` may have reused the number of a deleted bucket.
   */
  forget(records: readonly BucketRecord[]): void {
    this.#count = null
    for (const { number, name } of records) {
      this.#db.run('DELETE FROM buckets WHERE number = ? AND name = ?', number, name)
      this.#given.forgotten(number, this.last)
      this.#uncache(number, name)
    }
  }

  #remember(number: number, name: string, definition: string): number {
    for (const [oldest, n] of this.#numbers) {
      if (this.#numbers.size < CACHED && this.#cachedLength + name.length <= CACHED_LENGTH) break
      this.#uncache(n, oldest)
    }
    if (!this.#numbers.has(name)) this.#cachedLength += name.length
    this.#numbers.set(name, number)
    this.#records.set(number, { name, definition })
    return number
  }

  #uncache(number: number, name: string): void {
    if (this.#numbers.delete(name)) this.#cachedLength -= name.length
    this.#records.delete(number)
  }
}
