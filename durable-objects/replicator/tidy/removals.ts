import type { OpId } from '../../../protocol/ops.ts'
import type { Database } from '../../shared/database.ts'

/** A bucket object that is to be erased. It holds nothing that is needed, unless it got an op after `upTo`. */
export interface Removal {
  /** Ms since 1970. */
  due: number
  name: string
  /** The number of its record, which is deleted with it; null when it has no record any more. */
  number: number | null
  upTo: OpId
}

/**
 * The bucket objects that are to be erased. A name is kept until its object has answered, because it is stored nowhere
 * else.
 */
export class Removals {
  readonly #db: Database
  /** The ones whose bucket has a record, by its number. */
  readonly #recorded = new Map<number, Removal>()

  constructor(db: Database) {
    this.#db = db
    for (const row of db.all(STATEMENTS.recorded)) {
      const removal = removalOf(row)
      if (removal.number !== null) this.#recorded.set(removal.number, removal)
    }
  }

  /** The number of those whose bucket has a record. */
  get recorded(): number {
    return this.#recorded.size
  }

  has(number: number): boolean {
    return this.#recorded.has(number)
  }

  /** Returns the first ones that are due. */
  due(now: number, limit: number): Removal[] {
    const [recorded, others] = [1, 0].map((kind) => this.#db.all(STATEMENTS.due, kind, now, limit).map(removalOf))
    return [...(recorded ?? []), ...(others ?? [])].sort((a, b) => a.due - b.due).slice(0, limit)
  }

  /** Writes one row. */
  add(removal: Removal): void {
    const { due, name, number, upTo } = removal
    this.#db.run(STATEMENTS.add, kindOf(number), due, name, number, upTo)
    if (number !== null) this.#recorded.set(number, removal)
  }

  delete({ due, name, number }: Removal): void {
    this.#db.run(STATEMENTS.delete, kindOf(number), due, name)
    if (number !== null) this.#recorded.delete(number)
  }

  /** The object did not answer, or is still used, so others go first. To be called in a transaction. */
  postpone(removal: Removal, due: number): void {
    this.delete(removal)
    this.add({ ...removal, due })
  }

  /** An op is made for the bucket, so its object stays. */
  keep(number: number): void {
    const removal = this.#recorded.get(number)
    if (removal) this.delete(removal)
  }

  /** Returns whether the object is still to be erased. */
  isCurrent({ due, name, number }: Removal): boolean {
    if (number !== null) return this.#recorded.get(number)?.due === due
    return this.#db.all(STATEMENTS.stands, kindOf(number), due, name).length > 0
  }
}

export const STATEMENTS = {
  recorded: 'SELECT due, name, number, up_to FROM removals WHERE recorded = 1',
  due: 'SELECT due, name, number, up_to FROM removals WHERE recorded = ? AND due <= ? ORDER BY due LIMIT ?',
  stands: 'SELECT 1 FROM removals WHERE recorded = ? AND due = ? AND name = ?',
  add: 'INSERT OR REPLACE INTO removals VALUES (?, ?, ?, ?, ?)',
  delete: 'DELETE FROM removals WHERE recorded = ? AND due = ? AND name = ?',
} as const

const kindOf = (number: number | null): number => (number === null ? 0 : 1)

const removalOf = (row: Record<string, unknown>): Removal => ({
  due: Number(row.due),
  name: String(row.name),
  number: row.number === null ? null : Number(row.number),
  upTo: Number(row.up_to),
})
