import { bindPlan, bucketPrefix, definitionOf, partsOf, type PlanPart } from '../../../sync-config/index.ts'
import type { Plan } from '../../../sync-config/types.ts'
import type { TableName } from '../../../protocol/tables.ts'
import type { Database } from '../../shared/database.ts'

/**
 * `copying`: it sees the stream, and what rows there were is being read. `maintained`: its buckets are complete. `dropping`: it is not evaluated any more,
 * and what it left is being taken away. `gone`: that is done; what is known is that there was one.
 */
export type DefinitionState = 'copying' | 'maintained' | 'dropping' | 'gone'

/** A definition, lookup or event, in one generation: one that comes back after its buckets were deleted gets names of their own. */
export interface KnownDefinition {
  hash: string
  generation: number
  state: DefinitionState
  /** What names of its buckets begin with; '' for an event. */
  bucket: string
  /** Of one that is dropped: no op above this one is its own. */
  serial: number
}

/** What is evaluated, and what was. There are as many as the sync config has; all are in memory. */
export class Definitions {
  readonly #db: Database
  /** The newest generation of each hash, and older ones that are still being dropped. */
  readonly #known = new Map<string, KnownDefinition>()

  constructor(db: Database) {
    this.#db = db
    for (const row of db.all('SELECT hash, generation, state, bucket, serial FROM definitions')) {
      const state = String(row.state) as DefinitionState
      this.#remember({
        ...{ hash: String(row.hash), generation: Number(row.generation), state, bucket: String(row.bucket), serial: Number(row.serial) },
      })
    }
  }

  get all(): readonly KnownDefinition[] {
    return [...this.#known.values()]
  }

  /** The one whose buckets a plan would use now; null when it would be new. */
  current(hash: string): KnownDefinition | null {
    const newest = this.#newest(hash)
    return newest && (newest.state === 'copying' || newest.state === 'maintained') ? newest : null
  }

  /** Those of a plan that are not evaluated yet. */
  missing(plan: Plan): PlanPart[] {
    return partsOf(plan).filter((part) => this.current(part.hash) === null)
  }

  /**
   * Writes names of buckets into a compiled plan. `seed` is this storage's own: names of another storage of the same tenant are never used again,
   * because op ids began anew.
   */
  bind(plan: Plan, seed: string): Plan {
    return bindPlan(plan, seed, (named) => {
      const current = this.current(named.hash)
      if (current) return current.bucket
      const generation = (this.#newest(named.hash)?.generation ?? 0) + 1
      return bucketPrefix({ ...named, hash: `${named.hash}.${seed}${generation === 1 ? '' : `.${generation}`}` })
    })
  }

  /** Those of a bound plan that are not there yet are evaluated from now on. Answers the tables that these read. In a transaction. */
  begin(bound: Plan, state: DefinitionState): TableName[] {
    const missing = this.missing(bound)
    for (const { hash, bucket } of missing) {
      this.#save({ hash, generation: (this.#newest(hash)?.generation ?? 0) + 1, state, bucket, serial: 0 })
    }
    return missing.flatMap(({ tables }) => tables)
  }

  /** The copy of everything that this plan reads is complete. In a transaction. */
  complete(plan: Plan): void {
    for (const { hash } of partsOf(plan)) {
      const current = this.current(hash)
      if (current?.state === 'copying') this.#save({ ...current, state: 'maintained' })
    }
  }

  /** Those that none of these plans has are not evaluated from now on; ops up to `serial` may still be on their way. True: there were some. In a transaction. */
  keepOnly(plans: readonly Plan[], serial: number): boolean {
    const needed = new Set(plans.flatMap((plan) => partsOf(plan).map(({ hash }) => hash)))
    const dropped = this.all.filter(({ hash, state }) => (state === 'copying' || state === 'maintained') && !needed.has(hash))
    for (const each of dropped) this.#save({ ...each, state: 'dropping', serial })
    return dropped.length > 0
  }

  /** Those that are evaluated. */
  get maintained(): KnownDefinition[] {
    return this.all.filter(({ state }) => state === 'copying' || state === 'maintained')
  }

  get dropping(): KnownDefinition[] {
    return this.all.filter(({ state }) => state === 'dropping')
  }

  /** Its buckets are deleted. In a transaction. */
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

/** What `buckets.definition` says of the buckets of a definition. */
export const ownerOf = ({ bucket }: KnownDefinition): string => definitionOf(bucket)
