import { bindPlan, bucketPrefix, definitionOf, partsOf, type PlanPart } from '../../../sync-config/index.ts'
import type { Plan } from '../../../sync-config/types.ts'
import type { TableName } from '../../../protocol/tables.ts'
import type { Database } from '../../shared/database.ts'

/**
 * `copying`: it sees the stream, and existing rows are being read. `maintained`: its buckets are complete. `dropping`:
 * it is no longer evaluated, and what it left is being removed. `gone`: that is done, and only the record remains.
 */
export type DefinitionState = 'copying' | 'maintained' | 'dropping' | 'gone'

/** A definition, lookup or event, in one generation. One that returns after its buckets were deleted gets new names. */
export interface KnownDefinition {
  hash: string
  generation: number
  state: DefinitionState
  /** The prefix of its buckets' names; '' for an event. */
  bucket: string
  /** For a dropped definition: none of its ops is above this id. */
  serial: number
}

/** The definitions that are or were evaluated. There are as many as the sync configs have, so all are in memory. */
export class Definitions {
  readonly #db: Database
  /** The newest generation of each hash, and older ones that are still being dropped. */
  readonly #known = new Map<string, KnownDefinition>()

  constructor(db: Database) {
    this.#db = db
    for (const row of db.all('SELECT hash, generation, state, bucket, serial FROM definitions')) {
      const state = String(row.state) as DefinitionState
      this.#remember({
        hash: String(row.hash),
        generation: Number(row.generation),
        state,
        bucket: String(row.bucket),
        serial: Number(row.serial),
      })
    }
  }

  get all(): readonly KnownDefinition[] {
    return [...this.#known.values()]
  }

  /** Returns the generation whose buckets a plan would use now, or null when the definition would be new. */
  current(hash: string): KnownDefinition | null {
    const newest = this.#newest(hash)
    return newest && (newest.state === 'copying' || newest.state === 'maintained') ? newest : null
  }

  /** Returns the parts of a plan that are not evaluated yet. */
  missing(plan: Plan): PlanPart[] {
    return partsOf(plan).filter((part) => this.current(part.hash) === null)
  }

  /**
   * Writes names of buckets into a compiled plan. `seed` belongs to this storage, because the names of another storage
   * of the same tenant must never be used again: op ids started over.
   */
  bind(plan: Plan, seed: string): Plan {
    return bindPlan(plan, seed, (named) => {
      const current = this.current(named.hash)
      if (current) return current.bucket
      const generation = (this.#newest(named.hash)?.generation ?? 0) + 1
      return bucketPrefix({ ...named, hash: `${named.hash}.${seed}${generation === 1 ? '' : `.${generation}`}` })
    })
  }

  /**
   * Begins to evaluate the missing parts of a bound plan. Returns the tables that they read. Called in a transaction.
   */
  begin(bound: Plan, state: DefinitionState): TableName[] {
    const missing = this.missing(bound)
    for (const { hash, bucket } of missing) {
      this.#save({ hash, generation: (this.#newest(hash)?.generation ?? 0) + 1, state, bucket, serial: 0 })
    }
    return missing.flatMap(({ tables }) => tables)
  }

  /** Marks everything in this plan as completely copied. Called in a transaction. */
  complete(plan: Plan): void {
    for (const { hash } of partsOf(plan)) {
      const current = this.current(hash)
      if (current?.state === 'copying') this.#save({ ...current, state: 'maintained' })
    }
  }

  /**
   * Stops evaluating definitions that none of these plans has. Their ops up to `serial` may still be in flight. Returns
   * true when there were some. Called in a transaction.
   */
  keepOnly(plans: readonly Plan[], serial: number): boolean {
    const needed = new Set(plans.flatMap((plan) => partsOf(plan).map(({ hash }) => hash)))
    const dropped = this.all.filter(
      ({ hash, state }) => (state === 'copying' || state === 'maintained') && !needed.has(hash),
    )
    for (const each of dropped) this.#save({ ...each, state: 'dropping', serial })
    return dropped.length > 0
  }

  /** The definitions that are evaluated. */
  get maintained(): KnownDefinition[] {
    return this.all.filter(({ state }) => state === 'copying' || state === 'maintained')
  }

  get dropping(): KnownDefinition[] {
    return this.all.filter(({ state }) => state === 'dropping')
  }

  /** Records that the buckets of a definition are deleted. Called in a transaction. */
  gone(definition: KnownDefinition): void {
    const newest = this.#newest(definition.hash)
    if (newest && newest.generation > definition.generation) {
      this.#known.delete(keyOf(definition))
      this.#db.run('DELETE FROM definitions WHERE hash = ? AND generation = ?', definition.hash, definition.generation)
    } else this.#save({ ...definition, state: 'gone' })
  }

  #newest(hash: string): KnownDefinition | null {
    let newest: KnownDefinition | null = null
    for (const each of this.#known.values()) {
      if (each.hash === hash && each.generation > (newest?.generation ?? 0)) newest = each
    }
    return newest
  }

  #remember(definition: KnownDefinition): void {
    this.#known.set(keyOf(definition), definition)
  }

  #save(definition: KnownDefinition): void {
    this.#remember(definition)
    const { hash, generation, state, bucket, serial } = definition
    this.#db.run(
      `INSERT INTO definitions VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (hash, generation) DO UPDATE SET state = excluded.state, bucket = excluded.bucket, serial = excluded.serial`,
      ...[hash, generation, state, bucket, serial],
    )
  }
}

const keyOf = ({ hash, generation }: KnownDefinition) => `${hash} ${generation}`

/** Returns what `buckets.definition` stores for the buckets of a definition. */
export const ownerOf = ({ bucket }: KnownDefinition): string => definitionOf(bucket)
