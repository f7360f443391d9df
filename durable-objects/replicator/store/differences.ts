import { strongHash } from '../../../protocol/strong-hash.ts'
import type { Difference } from '../../../protocol/verification.ts'
import type { Database } from '../../shared/database.ts'

/** The number of differences that are stored; further ones are only counted. */
export const KEPT_DIFFERENCES = 1_000
const MAX_KEY_LENGTH = 500

/**
 * The differences that the last comparison found, each once, because a table that is rewritten meanwhile is read again.
 */
export class Differences {
  readonly #db: Database
  #kept: number

  constructor(db: Database) {
    this.#db = db
    this.#kept = Number(db.all('SELECT count(*) AS n FROM differences')[0]?.n ?? 0)
  }

  clear(): void {
    if (this.#kept > 0) this.#db.run('DELETE FROM differences')
    this.#kept = 0
  }

  /** Adds a difference. Returns false when it is already known. Writes one row. */
  add(difference: Difference): boolean {
    const { code, table, key, bucket } = difference
    const id = strongHash(JSON.stringify([code, table, key, bucket]))
    if (this.#db.all('SELECT 1 FROM differences WHERE id = ?', id).length > 0) return false
    if (this.#kept >= KEPT_DIFFERENCES) return true
    const body = { ...difference, key: key === null ? null : key.slice(0, MAX_KEY_LENGTH) }
    this.#db.run('INSERT INTO differences VALUES (?, ?, ?)', id, ++this.#kept, JSON.stringify(body))
    return true
  }

  /** Returns the differences in the order in which they were found. */
  all(): Difference[] {
    const rows = this.#db.all('SELECT number, body FROM differences')
    return rows
      .sort((a, b) => Number(a.number) - Number(b.number))
      .map((row) => JSON.parse(String(row.body)) as Difference)
  }
}
