import { RockpoolError } from '../../protocol/errors.ts'
import type { SourceRow } from '../../protocol/values.ts'
import { compile, loadPlan, parsePlan } from '../../sync-config/index.ts'
import type { CompileLimits, EvaluatedRow, LoadedPlan, TableName } from '../../sync-config/types.ts'
import type { Database } from '../database.ts'

/** The stored plans. Those that are evaluated: the serving one and, while a new one is copied, that too. */
export class Plans {
  readonly #db: Database
  readonly #loaded = new Map<string, LoadedPlan>()

  constructor(db: Database) {
    this.#db = db
  }

  /** Compiles and stores. Throws ROCKPOOL_SYNC_CONFIG with every error and its place. */
  wanted(yaml: string, limits: CompileLimits): string {
    const result = compile(yaml, limits)
    if (!result.ok) {
      const lines = result.errors.map((e) => `${e.place.line}:${e.place.column} ${e.code}: ${e.message}`)
      throw new RockpoolError('ROCKPOOL_SYNC_CONFIG', `the sync config has errors: ${lines.join('; ')}`, { details: result.errors })
    }
    const loaded = loadPlan(result.plan)
    this.#loaded.set(loaded.hash, loaded)
    this.#db.run('INSERT INTO plans VALUES (?, ?) ON CONFLICT (hash) DO NOTHING', loaded.hash, JSON.stringify(result.plan))
    return loaded.hash
  }

  /** JSON text of a plan, null when there is none of that hash. */
  text(hash: string): string | null {
    const row = this.#db.all('SELECT body FROM plans WHERE hash = ?', hash)[0]
    return row ? String(row.body) : null
  }

  load(hash: string): LoadedPlan {
    const known = this.#loaded.get(hash)
    if (known) return known
    const text = this.text(hash)
    if (text === null) throw new RockpoolError('ROCKPOOL_INTERNAL', `plan ${hash} is not stored`)
    const loaded = loadPlan(parsePlan(text))
    this.#loaded.set(hash, loaded)
    return loaded
  }
}

/**
 * Evaluates a row under several plans, and under all names that its table goes by. A bucket's name says its definition, so equal outputs are one.
 */
export function evaluateAll(plans: readonly LoadedPlan[], names: readonly TableName[], row: SourceRow): EvaluatedRow {
  const results = plans.flatMap((plan) => names.filter((name) => plan.reads(name)).map((name) => plan.evaluateRow(name, row)))
  const [first, ...others] = results
  if (!first) return { rows: [], errors: [] }
  if (others.length === 0) return first
  const rows = new Map(
    results.flatMap((result) => result.rows.map((each) => [JSON.stringify([each.bucket, each.objectType, each.objectId]), each])),
  )
  const events = results.flatMap((result) => result.events ?? [])
  const errors = results.flatMap((result) => result.errors)
  return { rows: [...rows.values()], errors, ...(events.length === 0 ? {} : { events }) }
}
