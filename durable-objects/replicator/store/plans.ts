import { RockpoolError } from '../../../protocol/errors.ts'
import { definitionOf, matchesTable, parsePlan, partsOf, planHash } from '../../../sync-config/index.ts'
import type { Plan } from '../../../sync-config/types.ts'
import type { TableName } from '../../../protocol/tables.ts'
import type { Database } from '../../shared/database.ts'

/** The largest plan. A stored value takes 2 MB. */
const MAX_PLAN_BYTES = 1_900_000

/** The stored plans, by their hash. */
export class Plans {
  readonly #db: Database

  constructor(db: Database) {
    this.#db = db
  }

  /** Stores a plan and returns its hash. Throws ROCKPOOL_SYNC_CONFIG for one that is too large. */
  store(plan: Plan): string {
    const hash = planHash(plan)
    const body = JSON.stringify(plan)
    if (Buffer.byteLength(body) > MAX_PLAN_BYTES) {
      throw new RockpoolError(
        'ROCKPOOL_SYNC_CONFIG',
        `the plan of the sync config has more than ${MAX_PLAN_BYTES} bytes: make the sync config smaller`,
      )
    }
    this.#db.run('INSERT INTO plans VALUES (?, ?) ON CONFLICT (hash) DO NOTHING', hash, body)
    return hash
  }

  /** Returns the JSON of a plan, or null when there is none with that hash. */
  text(hash: string): string | null {
    const row = this.#db.all('SELECT body FROM plans WHERE hash = ?', hash)[0]
    return row ? String(row.body) : null
  }

  load(hash: string): Plan {
    const text = this.text(hash)
    if (text === null) throw new RockpoolError('ROCKPOOL_INTERNAL', `plan ${hash} is not stored`)
    return parsePlan(text)
  }

  /** Deletes all other plans. */
  keepOnly(hashes: ReadonlySet<string>): void {
    for (const row of this.#db.all('SELECT hash FROM plans')) {
      if (!hashes.has(String(row.hash))) this.#db.run('DELETE FROM plans WHERE hash = ?', String(row.hash))
    }
  }
}

interface Known {
  tables: readonly TableName[]
  definitions: ReadonlySet<string>
}

/** Caches the tables and definitions of plans, without the plans themselves, for the two that were used last. */
export class PlanTables {
  readonly #plans: Pick<Plans, 'load'>
  readonly #known = new Map<string, Known>()

  constructor(plans: Pick<Plans, 'load'>) {
    this.#plans = plans
  }

  /** Returns true when the plan reads a table with one of these names. Without a plan it returns false. */
  reads(plan: string | null, names: readonly TableName[]): boolean {
    return plan !== null && this.#of(plan).tables.some((read) => names.some((name) => matchesTable(read, name)))
  }

  /** Returns true when the plan has the definition or lookup with this prefix of bucket names. */
  has(plan: string, definition: string): boolean {
    return this.#of(plan).definitions.has(definition)
  }

  #of(hash: string): Known {
    const known = this.#known.get(hash) ?? this.#load(hash)
    this.#known.delete(hash)
    this.#known.set(hash, known)
    const [oldest] = this.#known.keys()
    if (this.#known.size > 2 && oldest !== undefined) this.#known.delete(oldest)
    return known
  }

  #load(hash: string): Known {
    const parts = partsOf(this.#plans.load(hash))
    return {
      tables: parts.flatMap(({ tables }) => tables),
      definitions: new Set(parts.map(({ bucket }) => definitionOf(bucket))),
    }
  }
}
