import type { SourceRow } from '../../protocol/values.ts'
import { planHash } from '../plan/hash.ts'
import { DEFAULT_LIMITS } from '../limits.ts'
import { contentOf, type PlanContent, type TablePattern } from '../plan/plan.ts'
import type { EvaluatedRow, LoadedPlan, Plan, ReadColumns, RequestContext, RequestLimits } from '../types.ts'
import type { TableName } from '../../protocol/tables.ts'
import { columnsOf } from './columns.ts'
import { EventEvaluator } from './events.ts'
import { compilePrograms, RequestRun, type CompiledProgram } from './request.ts'
import { matches, RowEvaluator } from './rows.ts'

/** Prepares a plan for the evaluation of rows and requests. Throws Error for a plan of another schema version. */
export class ReadyPlan implements LoadedPlan {
  readonly hash: string
  readonly seed: string | undefined
  readonly definitions: readonly string[]
  readonly tables: readonly TableName[]
  readonly rows: RowEvaluator
  readonly #content: PlanContent
  readonly #patterns: TablePattern[]
  readonly #programs: CompiledProgram[]
  readonly #events: EventEvaluator | null
  readonly #limits: RequestLimits

  /** `members` are the plans of which `plan` was combined, if it is a combination. */
  constructor(plan: Plan, limits: Partial<RequestLimits> = {}, members?: readonly PlanContent[]) {
    const content = contentOf(plan)
    this.#content = content
    this.hash = planHash(plan)
    this.seed = plan.seed
    this.definitions = [...content.definitions, ...content.lookups].map((definition) => definition.hash)
    this.rows = new RowEvaluator(content, members)
    this.#patterns = patternsOf(content)
    this.tables = this.#patterns.map(({ schema, name, wildcard }) => ({ schema, name: wildcard ? `${name}%` : name }))
    this.#programs = compilePrograms(content)
    this.#events = content.events.length === 0 ? null : new EventEvaluator(content)
    this.#limits = { ...DEFAULT_LIMITS, ...limits }
  }

  reads(table: TableName): boolean {
    return this.#patterns.some((pattern) => matches(pattern, table, pattern.connection))
  }

  columns(table: TableName): ReadColumns {
    return columnsOf(this.#content, table)
  }

  evaluateRow(table: TableName, row: SourceRow): EvaluatedRow {
    const evaluated = this.rows.evaluate(table, row)
    const events =
      this.#events?.evaluate({ schema: table.schema, table: table.name, connection: 'default', record: row }) ?? []
    return events.length === 0 ? evaluated : { ...evaluated, events }
  }

  request(context: RequestContext): RequestRun {
    return new RequestRun(this.#programs, context, this.#limits)
  }
}

/** Returns the source tables of definitions, lookups and events, each once. */
export function patternsOf(content: PlanContent): TablePattern[] {
  const all = [
    ...content.definitions.flatMap((definition) => definition.queries.map((query) => query.table)),
    ...content.lookups.map((lookup) => lookup.table),
    ...content.events.flatMap((event) => event.queries.map((query) => query.table)),
  ]
  return [
    ...new Map(
      all.map((pattern) => [
        JSON.stringify([pattern.connection, pattern.schema, pattern.name, pattern.wildcard]),
        pattern,
      ]),
    ).values(),
  ]
}
