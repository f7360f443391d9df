import type { ExprBinary, SelectFromStatement } from 'pgsql-ast-parser'
import { tooManyDisjuncts, type Context } from '../../context.ts'
import { ExpressionBuilder } from '../../expressions/build.ts'
import { call, conjunction, integer, type Expr } from '../../expressions/expression.ts'
import { dataColumns } from '../buckets/columns.ts'
import { scopeOf, usesClient, usesRequest, usesRow, usesToken } from '../buckets/scope.ts'
import { singleTable } from '../buckets/table.ts'
import {
  warnClientDecides,
  warnDefaultWithoutParameters,
  warnNegatedRequest,
  warnNullMatchesNull,
} from '../buckets/warnings.ts'
import type { Branch, Key, Program, Step, Walked } from '../../plan/plan.ts'
import type { StreamText } from '../../parse/config.ts'
import { Sql, type SqlExpr } from '../../parse/sql.ts'
import { compileSubquery, type Subquery } from './subquery.ts'

/** A row value or its elements, matched with a value of the request, its elements, or the result of a subquery. */
export interface Match {
  row: Expr
  rowArray: boolean
  asked: { expr: Expr; array: boolean } | { subquery: Subquery }
  node: SqlExpr
}

/**
 * One alternative: conditions of the row, conditions of the request, matches, and subqueries that must find a request
 * value.
 */
interface Variant {
  rows: Expr[]
  requests: Expr[]
  matches: Match[]
  exists: { asked: Expr; subquery: Subquery }[]
}

const empty = (part: Partial<Variant>): Variant[] => [{ rows: [], requests: [], matches: [], exists: [], ...part }]

/**
 * Compiles a stream of edition 2: one table, and WHERE in disjunctive normal form. Every alternative has its own
 * buckets.
 */
export function compileAlphaStream(context: Context, text: StreamText): Program | null {
  const [source] = text.queries
  if (!source) return null
  const sql = new Sql(source, context.findings)
  const select = sql.select(false)
  const table = select && singleTable(sql, select, context.defaultSchema)
  if (!select || !table) return null
  const names = {
    dialect: 'alpha',
    fixedJson: context.fixedJson,
    table: table.name,
    wildcard: table.pattern.wildcard,
    elements: null,
  } as const
  const builder = new ExpressionBuilder(sql, scopeOf(sql, { ...names, request: true }))
  const alternatives = select.where ? new AlphaFilter(context, builder, text.name).read(select.where, false) : empty({})
  const columns = dataColumns(
    new ExpressionBuilder(sql, scopeOf(sql, { ...names, request: false })),
    select.columns,
    table,
    true,
  )
  context.schema?.checkQuery(sql, table, select)
  context.schema?.checkBytes(sql, table.pattern, columns, select)
  if (!alternatives) return null
  if (!text.acceptDangerous) warn(sql, select, alternatives)
  warnDefaultWithoutParameters(sql, text, alternatives.flatMap(askedBy), select)
  const variants = alternatives.map((variant, i) => {
    const { branch, steps, parameters } = lower(variant, context.copyTraps)
    // The reference looks up the row under another name here, and finds none.
    const lost = context.copyTraps && table.pattern.wildcard && table.alias !== undefined && variant.rows.length > 0
    if (lost) branch.filter = integer(0)
    const definition = context.definition({
      name: `${text.name}|${i}`,
      queries: [
        { label: `query of ${text.name}`, table: table.pattern, output: table.output, columns, branches: [branch] },
      ],
    })
    // `priority` has no effect in edition 2.
    return { definition, steps, parameters, priority: 3 }
  })
  return { name: text.name, automatic: text.autoSubscribe, failsRequest: false, alwaysDefault: true, variants }
}

/** With `requestNulls`, NULL of the request makes a key, as in the reference. No row has that key. */
function lower(variant: Variant, requestNulls: boolean): { branch: Branch; steps: Step[]; parameters: Key[] } {
  const each: Walked[] = []
  const steps: Step[] = []
  const filter = conjunction(variant.requests)
  if (filter) steps.push({ filter })
  const counters = { elements: 0, outputs: 0 }
  for (const { asked, subquery } of variant.exists) {
    const found = subquery.steps(steps, counters)
    steps.push({ filter: call('same key', found, asked) })
  }
  const keys: Key[] = []
  const parameters = variant.matches.map(({ row, rowArray, asked }): Key => {
    // A NULL of the row matches a NULL that a subquery finds, but nothing of the request.
    const found = 'subquery' in asked
    if (rowArray) each.push({ expr: row, how: found ? 'array' : 'keys' })
    keys.push({ expr: rowArray ? ['each', each.length - 1, 'value'] : row, nulls: found })
    if (found) return { expr: asked.subquery.steps(steps, counters), nulls: true }
    if (!asked.array) return { expr: asked.expr, nulls: requestNulls }
    steps.push({ each: { expr: asked.expr, how: 'request-array' } })
    return { expr: ['each', counters.elements++, 'value'], nulls: false }
  })
  return { branch: { each, filter: conjunction(variant.rows), keys }, steps, parameters }
}

/** Returns the request values that an alternative depends on. */
const askedBy = ({ requests, matches, exists }: Variant): Expr[] => [
  ...requests,
  ...matches.flatMap((match) => ('subquery' in match.asked ? match.asked.subquery.asked : [match.asked.expr])),
  ...exists.flatMap(({ asked, subquery }) => [asked, ...subquery.asked]),
]

function warn(sql: Sql, select: SelectFromStatement, alternatives: Variant[]): void {
  const decided = alternatives.some((variant) => {
    const asked = askedBy(variant)
    return asked.some(usesClient) && !asked.some(usesToken)
  })
  if (decided) warnClientDecides(sql, select)
  for (const request of new Set(alternatives.flatMap(askedBy))) warnNegatedRequest(sql, request, select.where ?? select)
  const told = new Set<SqlExpr>()
  for (const { rows, matches } of alternatives) {
    for (const { row, rowArray, asked, node } of matches) {
      if (!('subquery' in asked) || rowArray || told.has(node) || asked.subquery.neverNull) continue
      told.add(node)
      warnNullMatchesNull(sql, row, rows, node)
    }
  }
}

/** Compiles WHERE of a stream of edition 2 into alternatives. */
class AlphaFilter {
  readonly #context: Context
  readonly #builder: ExpressionBuilder
  readonly #stream: string

  constructor(context: Context, builder: ExpressionBuilder, stream: string) {
    this.#context = context
    this.#builder = builder
    this.#stream = stream
  }

  read(node: SqlExpr, negated: boolean): Variant[] | null {
    if (node.type === 'unary' && node.op === 'NOT') return this.#not(node.operand, !negated, node)
    if (node.type !== 'binary') return this.#single(node, negated)
    switch (node.op) {
      case 'AND':
      case 'OR':
        return this.#join(node, negated)
      case 'IN':
      case '=':
      case '&&':
        return negated ? this.#single(node, negated) : this.#compare(node)
      default:
        return this.#single(node, negated)
    }
  }

  #not(operand: SqlExpr, negated: boolean, node: SqlExpr): Variant[] | null {
    return operand.type === 'binary' && operand.right.type === 'select' && negated
      ? this.#refuse('NOT is not possible with a subquery.', node)
      : this.read(operand, negated)
  }

  #join(node: ExprBinary, negated: boolean): Variant[] | null {
    const left = this.read(node.left, negated)
    const right = this.read(node.right, negated)
    if (!left || !right) return null
    if ((node.op === 'OR') !== negated) return [...left, ...right]
    const most = this.#context.limits.disjuncts
    if (left.length * right.length > most) {
      this.#builder.sql.error('too-many-disjuncts', tooManyDisjuncts(most), node)
      return null
    }
    this.#builder.sql.work.step('plan', left.length * right.length)
    return left.flatMap((a) =>
      right.map((b) => ({
        rows: [...a.rows, ...b.rows],
        requests: [...a.requests, ...b.requests],
        matches: [...a.matches, ...b.matches],
        exists: [...a.exists, ...b.exists],
      })),
    )
  }

  #compare(node: ExprBinary): Variant[] | null {
    if (node.right.type === 'select') return this.#subquery(node, node.right)
    if (node.op === '&&' && node.left.type === 'select') return this.#refuse('Write array && (SELECT …).', node)
    const left = this.#builder.build(node.left)
    const right = this.#builder.build(node.right)
    if (!left || !right) return null
    const [rowLeft, rowRight] = [usesRow(left), usesRow(right)]
    const [requestLeft, requestRight] = [usesRequest(left), usesRequest(right)]
    if ((rowLeft && requestLeft) || (rowRight && requestRight))
      return this.#refuse('Values of the row and of the request can only be compared with =, IN or &&.', node)
    if (node.op === '&&') {
      if (rowLeft && requestRight)
        return empty({
          matches: [{ row: overlapArray(left), rowArray: true, asked: { expr: right, array: true }, node }],
        })
      if (requestLeft && rowRight)
        return empty({
          matches: [
            { row: overlapArray(right), rowArray: true, asked: { expr: left, array: !this.#context.copyTraps }, node },
          ],
        })
      return this.#refuse('One side of && must be an array of the row, the other one of the request.', node)
    }
    if (rowLeft && requestRight)
      return empty({ matches: [{ row: left, rowArray: false, asked: { expr: right, array: node.op === 'IN' }, node }] })
    if (requestLeft && rowRight)
      return empty({ matches: [{ row: right, rowArray: node.op === 'IN', asked: { expr: left, array: false }, node }] })
    return this.#filter(call(node.op.toLowerCase(), left, right), node)
  }

  #subquery(node: ExprBinary, select: SelectFromStatement): Variant[] | null {
    if (node.op === '=') return this.#refuse('A subquery can only stand on the right side of IN or &&.', select)
    const left = this.#builder.build(node.left)
    const ofRequest = left !== null && usesRequest(left) && !usesRow(left) && node.op === 'IN'
    const subquery = compileSubquery(this.#context, this.#builder.sql, select, this.#stream, ofRequest ? left : null)
    if (!left || !subquery) return null
    if (usesRow(left) && !usesRequest(left))
      return empty({
        matches: [
          { row: node.op === '&&' ? overlapArray(left) : left, rowArray: node.op === '&&', asked: { subquery }, node },
        ],
      })
    if (ofRequest) return empty({ exists: [{ asked: left, subquery }] })
    return this.#refuse('The left side of a subquery must be a value of the row or of the request.', node)
  }

  #single(node: SqlExpr, negated: boolean): Variant[] | null {
    if (node.type === 'binary' && node.right.type === 'select')
      return this.#refuse('NOT is not possible with a subquery.', node)
    const expr = this.#builder.build(node)
    return expr && this.#filter(negated ? call('not', expr) : expr, node)
  }

  #filter(expr: Expr, node: SqlExpr): Variant[] | null {
    if (usesRow(expr) && usesRequest(expr))
      return this.#refuse('Values of the row and of the request can only be compared with =, IN or &&.', node)
    return empty(usesRequest(expr) ? { requests: [expr] } : { rows: [expr] })
  }

  #refuse(message: string, node: SqlExpr): null {
    this.#builder.sql.error('stream-filter', message, node)
    return null
  }
}

/** && fails for a NULL, unlike IN. */
const overlapArray = (row: Expr): Expr => call('ifnull', row, ['text', 'null'])
