import type { SelectFromStatement } from 'pgsql-ast-parser'
import type { Context } from '../../context.ts'
import { ExpressionBuilder } from '../../expressions/build.ts'
import { call, canonical, conjunction, type Expr } from '../../expressions/expression.ts'
import { scopeOf, usesRequest, usesRow } from '../buckets/scope.ts'
import { singleTable } from '../buckets/table.ts'
import type { Key, Step, Walked } from '../../plan/plan.ts'
import type { Sql, SqlExpr } from '../../parse/sql.ts'

export interface Subquery {
  /** The request values that it depends on. */
  asked: Expr[]
  /** True when its result is never NULL. */
  neverNull: boolean
  /** Adds the steps that read it. Returns the expression of its result. */
  steps(steps: Step[], counters: { elements: number; outputs: number }): Expr
}

interface Comparison {
  row: Expr
  rowArray: boolean
  asked: Expr
  array: boolean
}

/**
 * Compiles `SELECT column FROM table WHERE …`: one table, one column, only ANDs, and it must depend on the request.
 * `wanted` is the value of the request that it must find, which counts as a dependency.
 */
export function compileSubquery(
  context: Context,
  sql: Sql,
  select: SelectFromStatement,
  stream: string,
  wanted: Expr | null,
): Subquery | null {
  if (!sql.clauses(select, false)) return null
  const table = singleTable(sql, select, context.defaultSchema)
  if (!table) return null
  const builder = new ExpressionBuilder(
    sql,
    scopeOf(sql, {
      dialect: 'alpha',
      fixedJson: context.fixedJson,
      table: table.name,
      wildcard: table.pattern.wildcard,
      elements: null,
      request: true,
    }),
  )
  const refuse = (message: string, node: SqlExpr): null => {
    sql.error('stream-subquery', message, node)
    return null
  }
  const [column, ...more] = select.columns ?? []
  if (!column || more.length > 0 || (column.expr.type === 'ref' && column.expr.name === '*'))
    return refuse('A subquery must have exactly one column.', select)
  const output = builder.build(column.expr)
  context.schema?.checkQuery(sql, table, select)
  const filters: Expr[] = []
  const requests: Expr[] = []
  const comparisons: Comparison[] = []
  const read = (node: SqlExpr): boolean => {
    if (node.type === 'binary' && node.op === 'AND') {
      const left = read(node.left)
      return read(node.right) && left
    }
    if (node.type === 'binary' && (node.op === '=' || node.op === 'IN')) {
      if (node.right.type === 'select')
        return refuse('A subquery inside a subquery is not supported; edition 3 has it.', node.right) !== null
      const left = builder.build(node.left)
      const right = builder.build(node.right)
      if (!left || !right) return false
      const [rowLeft, rowRight] = [usesRow(left) && !usesRequest(left), usesRow(right) && !usesRequest(right)]
      if (rowLeft && usesRequest(right) && !usesRow(right)) {
        comparisons.push({ row: left, rowArray: false, asked: right, array: node.op === 'IN' })
        return true
      }
      if (rowRight && usesRequest(left) && !usesRow(left)) {
        comparisons.push({ row: right, rowArray: node.op === 'IN', asked: left, array: false })
        return true
      }
      return filter(call(node.op.toLowerCase(), left, right), node)
    }
    const expr = builder.build(node)
    return expr !== null && filter(expr, node)
  }
  const filter = (expr: Expr, node: SqlExpr): boolean => {
    if (usesRow(expr) && usesRequest(expr))
      return (
        refuse('Values of the row and of the request can only be compared with = or IN; OR is not possible.', node) !==
        null
      )
    if (usesRequest(expr)) requests.push(expr)
    else filters.push(expr)
    return true
  }
  const readable = select.where ? read(select.where) : true
  if (!readable || !output) return null
  if (usesRequest(output)) return refuse('The column of a subquery must be a value of its table.', column.expr)
  if (wanted && comparisons.length + requests.length === 0)
    comparisons.push({ row: output, rowArray: false, asked: wanted, array: false })
  if (comparisons.length + requests.length === 0)
    return refuse('A subquery must depend on the request: compare a column with auth.user_id() or the like.', select)
  return lower(context, stream, table.pattern, { output, filters, requests, comparisons })
}

function lower(
  context: Context,
  stream: string,
  table: Parameters<Context['lookup']>[0]['table'],
  {
    output,
    filters,
    requests,
    comparisons,
  }: { output: Expr; filters: Expr[]; requests: Expr[]; comparisons: Comparison[] },
): Subquery {
  const each: Walked[] = []
  const keys = comparisons.map(({ row, rowArray }): Key => {
    if (rowArray) each.push({ expr: row, how: 'keys' })
    return { expr: rowArray ? ['each', each.length - 1, 'value'] : row, nulls: false }
  })
  const lookup = context.lookup({
    name: stream,
    label: `lookup of ${stream}`,
    table,
    branches: [{ each, filter: conjunction(filters), keys, outputs: [output] }],
  })
  return {
    neverNull: filters.some((filter) => canonical(filter) === canonical(call('not', call('is null', output)))),
    asked: [...requests, ...comparisons.map((comparison) => comparison.asked)],
    steps(steps, counters) {
      for (const request of requests) steps.push({ filter: request })
      const asked = comparisons.map(({ asked: expr, array }): Key => {
        if (!array) return { expr, nulls: false }
        steps.push({ each: { expr, how: 'request-array' } })
        return { expr: ['each', counters.elements++, 'value'], nulls: false }
      })
      steps.push({ lookup, keys: asked })
      return ['output', counters.outputs++, 0]
    },
  }
}
