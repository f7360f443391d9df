import type { Context } from './context.ts'
import { ExpressionBuilder } from './expressions/build.ts'
import { dataColumns } from './editions/buckets/columns.ts'
import { scopeOf } from './editions/buckets/scope.ts'
import { singleTable } from './editions/buckets/table.ts'
import type { PlanContent } from './plan/plan.ts'
import type { EventText } from './parse/config.ts'
import { Sql } from './parse/sql.ts'

/** Compiles `event_definitions`: payloads over one table each. WHERE is parsed and has no effect. */
export function compileEvent(context: Context, { name, payloads }: EventText): PlanContent['events'][number] {
  const seen = new Set<string>()
  const queries = payloads.flatMap((source, i) => {
    const sql = new Sql(source, context.findings)
    const select = sql.select(false)
    const table = select && singleTable(sql, select, context.defaultSchema)
    if (!select || !table) return []
    const scope = scopeOf(sql, {
      dialect: 'legacy',
      fixedJson: context.fixedJson,
      table: table.name,
      wildcard: table.pattern.wildcard,
      elements: null,
      request: false,
    })
    const key = JSON.stringify(table.pattern)
    if (seen.has(key)) sql.error('event-table', 'Each payload of an event must be over another table.', table.node)
    seen.add(key)
    const columns = dataColumns(new ExpressionBuilder(sql, scope), select.columns, table, false)
    return [{ label: `payload ${i + 1} of ${name}`, table: table.pattern, columns }]
  })
  return { name, queries }
}
