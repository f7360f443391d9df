import type { ExprBinary, FromCall, SelectFromStatement } from 'pgsql-ast-parser'
import { tooManyDisjuncts, type Context } from '../../context.ts'
import { ExpressionBuilder } from '../../expressions/build.ts'
import { call, canonical, integer, type Expr } from '../../expressions/expression.ts'
import type { Key, Step } from '../../plan/plan.ts'
import type { ScalarText } from '../../parse/scalar.ts'
import { Sql, type SqlExpr } from '../../parse/sql.ts'
import { columnName } from './columns.ts'
import { both, branchOf, filterOnly, idsOf, type Alternative } from './match.ts'
import { scopeOf, usesClient, usesRequest, usesRow, usesToken, warnLowerCase } from './scope.ts'
import { singleTable } from './table.ts'
import { warnClientDecides, warnNegatedRequest } from './warnings.ts'

// The file is long because the forms of a parameter query share how WHERE is split between table and request.

/** A compiled parameter query: how a request finds tuples of bucket parameters. */
export interface ParameterQuery {
  names: string[]
  steps: Step[]
  parameters: Key[]
  priority: number | undefined
  select: { sql: Sql; node: SelectFromStatement }
}

interface Output {
  name: string
  expr: Expr
  node: SqlExpr
}

export function compileParameterQuery(
  context: Context,
  source: ScalarText,
  name: string,
  acceptDangerous: boolean,
  hasPriority: boolean,
): ParameterQuery | null {
  const sql = new Sql(source, context.findings)
  const node = sql.select(false)
  if (!node) return null
  const [from] = node.from ?? []
  if (!from) return fromRequest(context, sql, node, null, acceptDangerous, hasPriority)
  if (from.type === 'call' && node.from?.length === 1)
    return fromRequest(context, sql, node, from, acceptDangerous, hasPriority)
  return fromTable(context, sql, node, name, acceptDangerous, hasPriority)
}

/** Compiles `SELECT …` and `SELECT … FROM json_each(…)`, which read only the request. */
function fromRequest(
  context: Context,
  sql: Sql,
  node: SelectFromStatement,
  from: FromCall | null,
  acceptDangerous: boolean,
  hasPriority: boolean,
): ParameterQuery | null {
  const names = {
    dialect: 'legacy',
    fixedJson: context.fixedJson,
    table: null,
    wildcard: false,
    request: true,
  } as const
  const steps: Step[] = []
  let argument: Expr | null = null
  if (from) {
    const [arg] = from.args
    if (from.function.name.toLowerCase() !== 'json_each' || from.function.schema || !arg || from.args.length !== 1) {
      sql.error('table-function', 'The only table function is json_each(array).', from)
      return null
    }
    argument = new ExpressionBuilder(sql, scopeOf(sql, { ...names, elements: null })).build(arg)
    if (argument) steps.push({ each: { expr: argument, how: context.fixedJson ? 'each' : 'each-null-text' } })
  }
  const elements = from ? (from.alias?.name ?? 'json_each') : null
  const builder = new ExpressionBuilder(sql, scopeOf(sql, { ...names, elements }))
  const { outputs, priority, complete } = readOutputs(builder, node, hasPriority, from === null)
  const where = node.where ? builder.build(node.where) : null
  if (where) steps.push({ filter: where })
  if (!complete || (from && !argument) || (node.where && !where)) return null
  if (where && node.where && !acceptDangerous) warnNegatedRequest(sql, where, node.where)
  const judged = [...outputs.map((output) => output.expr), ...(argument ? [argument] : [])]
  if (!acceptDangerous && judged.some(usesClient) && !judged.some(usesToken)) warnClientDecides(sql, node)
  return {
    names: outputs.map((o) => o.name),
    steps,
    parameters: outputs.map(({ expr }) => ({ expr, nulls: context.copyTraps })),
    priority,
    select: { sql, node },
  }
}

/** Compiles `SELECT … FROM table WHERE …`: the table's side becomes a lookup, the request's side reads it. */
function fromTable(
  context: Context,
  sql: Sql,
  node: SelectFromStatement,
  name: string,
  acceptDangerous: boolean,
  hasPriority: boolean,
): ParameterQuery | null {
  const table = singleTable(sql, node, context.defaultSchema)
  if (!table) return null
  if (table.alias !== undefined) {
    sql.error('alias-in-parameter-query', 'A table alias is not possible in a parameter query.', table.node)
    return null
  }
  const names = {
    dialect: 'legacy',
    fixedJson: context.fixedJson,
    table: table.name,
    wildcard: table.pattern.wildcard,
    elements: null,
    request: true,
  } as const
  const builder = new ExpressionBuilder(sql, scopeOf(sql, names))
  const { outputs, priority, complete } = readOutputs(builder, node, hasPriority, true)
  const filter = new ParameterFilter(builder, context.limits.disjuncts)
  const alternatives = node.where ? filter.match(node.where) : [{ components: [], filters: [] }]
  context.schema?.checkQuery(sql, table, node)
  let failed = !alternatives || !complete
  const rowOutputs: Expr[] = []
  const parameters = outputs.map(({ expr, node: at }): Key => {
    if (!usesRow(expr)) return { expr, nulls: context.copyTraps }
    if (expr[0] !== 'column' && expr[0] !== 'meta') {
      sql.error('row-expression', 'Outputs of the row must be plain columns: compute in the data query instead.', at)
      failed = true
    }
    rowOutputs.push(expr)
    return { expr: ['output', 0, rowOutputs.length - 1], nulls: true }
  })
  if (!alternatives || failed) return null
  const request = (alternatives[0]?.components ?? []).flatMap((component) =>
    component.request ? [component.request.expr] : [],
  )
  const judged = [...request, ...outputs.map((output) => output.expr)]
  if (!acceptDangerous && judged.some(usesClient) && !judged.some(usesToken)) warnClientDecides(sql, node)
  if (!acceptDangerous) {
    for (const { request, node: at } of alternatives.flatMap(({ components }) => components)) {
      if (request) warnNegatedRequest(sql, request.expr, at)
    }
  }
  const ids = idsOf(alternatives[0])
  const steps: Step[] = []
  const keys = ids.map((id): Key => {
    const asked = alternatives[0]?.components.find((component) => component.id === id)?.request
    if (!asked) return { expr: integer(1), nulls: false }
    if (!asked.array) return { expr: asked.expr, nulls: false }
    steps.push({ each: { expr: asked.expr, how: context.copyTraps ? 'request-array-nulls' : 'request-array' } })
    return { expr: ['each', steps.length - 1, 'value'], nulls: context.copyTraps }
  })
  // Two comparisons with the same array would have to become one key; the reference drops the second.
  const again = alternatives.some(({ components }) => {
    const compared = components.filter(({ request }) => request?.array)
    return new Set(compared.map(({ id }) => id)).size < compared.length
  })
  if (steps.length > 1 || (again && !context.copyTraps)) {
    sql.error('several-arrays', 'Only one IN with an array of the request is possible in a query.', node)
    return null
  }
  const lookup = context.lookup({
    name,
    label: `parameter query of ${name}`,
    table: table.pattern,
    branches: alternatives.map((alternative) => ({
      ...branchOf(alternative, ids, context.copyTraps),
      outputs: rowOutputs,
    })),
  })
  steps.push({ lookup, keys })
  return { names: outputs.map((o) => o.name), steps, parameters, priority, select: { sql, node } }
}

function readOutputs(
  builder: ExpressionBuilder,
  select: SelectFromStatement,
  hasPriority: boolean,
  mayHavePriority: boolean,
): { outputs: Output[]; priority: number | undefined; complete: boolean } {
  const outputs: Output[] = []
  let complete = true
  let priority: number | undefined
  for (const column of select.columns ?? []) {
    const { expr: node } = column
    if (node.type === 'ref' && node.name === '*') {
      builder.sql.error('star', '* is not possible in a parameter query: name the columns.', node)
      complete = false
      continue
    }
    const name = columnName(builder, column)
    if (column.alias) warnLowerCase(builder.sql, column.alias)
    if (name === '_priority' && mayHavePriority) {
      if (node.type !== 'integer')
        builder.sql.error('priority', '_priority must be a whole number, written as a literal.', node)
      else if (node.value < 0 || node.value > 3) builder.sql.error('priority', '_priority must be from 0 to 3.', node)
      else if (hasPriority)
        builder.sql.error('priority', 'The priority is set twice: here and as `priority` of the definition.', select)
      else priority = node.value
      continue
    }
    const expr = builder.build(node)
    if (name !== null && expr) outputs.push({ name, expr, node })
    else complete = false
  }
  return { outputs, priority, complete }
}

/** Compiles WHERE of a parameter query over a table. */
class ParameterFilter {
  readonly #builder: ExpressionBuilder
  readonly #most: number

  constructor(builder: ExpressionBuilder, most: number) {
    this.#builder = builder
    this.#most = most
  }

  match(node: SqlExpr): Alternative[] | null {
    if (node.type === 'binary' && node.op === 'AND') return this.#and(node)
    if (node.type === 'binary' && node.op === 'OR') return this.#or(node)
    if (node.type === 'binary' && (node.op === '=' || node.op === 'IN')) {
      const left = this.#builder.build(node.left)
      const right = this.#builder.build(node.right)
      if (!left || !right) return null
      const match = this.#comparison(node, node.op, left, right)
      if (match) return match
      return this.#single(call(node.op.toLowerCase(), left, right), node)
    }
    const expr = this.#builder.build(node)
    return expr && this.#single(expr, node)
  }

  #comparison(node: ExprBinary, op: '=' | 'IN', left: Expr, right: Expr): Alternative[] | null {
    const rowLeft = usesRow(left)
    if (rowLeft === usesRow(right) || (usesRequest(left) && rowLeft) || (usesRequest(right) && !rowLeft)) return null
    if (!usesRequest(rowLeft ? right : left)) return null
    const row = rowLeft ? left : right
    const asked = rowLeft ? right : left
    const array = op === 'IN' && rowLeft
    return [
      {
        components: [
          {
            id: canonical([asked, array]),
            row,
            node,
            rowArray: op === 'IN' && !rowLeft,
            request: { expr: asked, array },
          },
        ],
        filters: [],
      },
    ]
  }

  /**
   * A condition over one side: a filter of the row, or of the request. The latter becomes a part of the key that is
   * always 1 in rows.
   */
  #single(expr: Expr, node: SqlExpr): Alternative[] | null {
    if (!usesRequest(expr)) return filterOnly(expr)
    if (usesRow(expr)) {
      this.#builder.sql.error(
        'row-and-request',
        'Values of the row and of the request can only be compared with = or IN.',
        node,
      )
      return null
    }
    const asked = call('truth', expr)
    return [
      {
        components: [
          { id: canonical([asked]), row: integer(1), node, rowArray: false, request: { expr: asked, array: false } },
        ],
        filters: [],
      },
    ]
  }

  #and(node: ExprBinary): Alternative[] | null {
    const left = this.match(node.left)
    const right = this.match(node.right)
    if (!left || !right) return null
    const all = both(left, right, { most: this.#most, work: this.#builder.sql.work })
    if (!all) {
      this.#builder.sql.error('too-many-disjuncts', tooManyDisjuncts(this.#most), node)
      return null
    }
    if (all.some((alternative) => alternative.components.filter((component) => component.rowArray).length > 1)) {
      this.#builder.sql.error('several-in', 'Only one IN over an array of the row is possible.', node)
      return null
    }
    return all
  }

  #or(node: ExprBinary): Alternative[] | null {
    const left = this.match(node.left)
    const right = this.match(node.right)
    if (!left || !right) return null
    const asked = [left, right].map(requestTruth)
    if (asked[0] && asked[1]) return this.#single(call('or', asked[0], asked[1]), node)
    const [a, b] = [idsOf(left[0]), idsOf(right[0])]
    if (a.join() !== b.join()) {
      this.#builder.sql.error(
        'or-parameters',
        'Both sides of OR must use the same request values: split the query into two.',
        node,
      )
      return null
    }
    if (a.length === 0 && left.length === 1 && right.length === 1)
      return filterOnly(call('or', truthOf(left), truthOf(right)))
    return [...left, ...right]
  }
}

/** Returns the condition when it reads only the request. */
function requestTruth([alternative, ...more]: Alternative[]): Expr | null {
  if (!alternative || more.length > 0 || alternative.filters.length > 0) return null
  const parts = alternative.components.map((component) =>
    component.row[0] === 'int' ? component.request?.expr : undefined,
  )
  return parts.length > 0 && parts.every((part) => part !== undefined)
    ? parts.reduce((left, right) => call('and', left, right))
    : null
}

const truthOf = ([alternative]: Alternative[]): Expr =>
  (alternative?.filters ?? []).reduce((left, right) => call('and', left, right), integer(1))
