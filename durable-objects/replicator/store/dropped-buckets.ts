import type { Buckets } from './buckets.ts'
import { ownerOf, type Definitions } from './definitions.ts'
import type { StateStore } from './storage.ts'

/** The buckets of definitions that are being removed. While row state still has them, it is read as if it did not. */
export class DroppedBuckets {
  readonly #state: StateStore
  readonly #definitions: Pick<Definitions, 'dropping'>
  readonly #buckets: Pick<Buckets, 'definition'>
  #owners: { drop: object; names: Set<string> } | null = null

  constructor(state: StateStore, definitions: Pick<Definitions, 'dropping'>, buckets: Pick<Buckets, 'definition'>) {
    this.#state = state
    this.#definitions = definitions
    this.#buckets = buckets
  }

  has(bucket: number): boolean {
    const drop = this.#state.get('drop')
    return drop !== null && !drop.swept && this.#namesOf(drop).has(this.#buckets.definition(bucket))
  }

  #namesOf(drop: object): Set<string> {
    if (this.#owners?.drop !== drop) this.#owners = { drop, names: new Set(this.#definitions.dropping.map(ownerOf)) }
    return this.#owners.names
  }
}
