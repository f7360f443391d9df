import type { Context } from '../../context.ts'
import type { Program } from '../../plan/plan.ts'
import type { BucketDefinitionText } from '../../parse/config.ts'
import { compileDataQuery } from './data.ts'
import { compileParameterQuery, type ParameterQuery } from './parameters.ts'

const DEFAULT_PRIORITY = 3

/** Compiles one entry of `bucket_definitions`. Returns null after reporting errors. */
export function compileBuckets(context: Context, text: BucketDefinitionText): Program | null {
  const queries = text.parameters?.map(({ sql, tagged }) =>
    compileParameterQuery(context, sql, text.name, text.acceptDangerous || tagged, text.priority !== undefined),
  )
  const [first] = queries ?? []
  const names = first?.names ?? []
  for (const query of queries ?? []) {
    if (query && first && [...query.names].sort().join('\n') !== [...names].sort().join('\n')) {
      query.select.sql.error(
        'parameter-columns',
        `All parameter queries of a definition must have the same columns: ${names.join(', ') || 'none'}.`,
        query.select.node,
      )
    }
  }
  // Without known parameters, data queries would only produce follow-up errors.
  const known = queries === undefined || (first !== null && first !== undefined)
  const data = text.data.map((sql, i) =>
    compileDataQuery(context, sql, `data query ${i + 1} of ${text.name}`, known ? names : null),
  )
  const usable = queries?.filter((query) => query !== null)
  if (!data.every((query) => query !== null) || usable?.length !== queries?.length) return null
  const definition = context.definition({ name: text.name, queries: data })
  const sources: Omit<ParameterQuery, 'select'>[] = usable ?? [
    { names: [], steps: [], parameters: [], priority: undefined },
  ]
  const variants = sources.map((query) => ({
    definition,
    steps: query.steps,
    // The data side names buckets in the parameter order of the first query. In the reference every query uses its own
    // order.
    parameters: context.copyTraps
      ? query.parameters
      : names.map((name) => query.parameters[query.names.indexOf(name)] ?? { expr: ['null'] as const, nulls: true }),
    priority: query.priority ?? text.priority ?? DEFAULT_PRIORITY,
  }))
  return { name: text.name, automatic: true, failsRequest: true, alwaysDefault: false, variants }
}
