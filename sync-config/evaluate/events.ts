import type { SourceRow } from '../../protocol/values.ts'
import { rowEnvironment } from '../expressions/environment.ts'
import { EvaluationFailure, type Value } from '../expressions/values.ts'
import type { PlanContent } from '../plan/plan.ts'
import { compileColumns, matches, resolveValues } from './rows.ts'

export interface EventRow {
  event: string
  values: [name: string, value: Value][]
  errors: string[]
}

/** Evaluates source rows for `event_definitions`: every row of the table, whatever WHERE says. */
export class EventEvaluator {
  readonly #options: PlanContent['values']
  readonly #queries

  constructor(plan: PlanContent) {
    this.#options = plan.values
    this.#queries = plan.events.flatMap(({ name, queries }) =>
      queries.map(({ table, columns }) => ({ name, table, columns: compileColumns(columns) })),
    )
  }

  evaluate(row: { schema: string; table: string; connection: string; record: SourceRow }): EventRow[] {
    return this.#queries
      .filter(({ table }) => matches(table, { schema: row.schema, name: row.table }, row.connection))
      .map(({ name, table, columns }) => {
        try {
          const environment = rowEnvironment(row.schema, row.table, resolveValues(row.record, this.#options))
          environment.suffix = table.wildcard ? row.table.slice(table.name.length) : ''
          return { event: name, values: columns(environment), errors: [] }
        } catch (error) {
          if (!(error instanceof EvaluationFailure)) throw error
          return { event: name, values: [], errors: [error.message] }
        }
      })
  }
}
