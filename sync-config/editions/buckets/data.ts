import type { ExprBinary } from 'pgsql-ast-parser'
import { ExpressionBuilder } from '../../expressions/build.ts'
import { integer } from '../../expressions/expression.ts'
import type { DataQuery } from '../../plan/plan.ts'
import type { ScalarText } from '../../parse/scalar.ts'
import { Sql, type SqlExpr } from '../../parse/sql.ts'
import { dataColumns } from './columns.ts'
import { tooManyDisjuncts, type Context } from '../../context.ts'
import { both, branchOf, filterOnly, idsOf, type Alternative } from './match.ts'
import { scopeOf } from './scope.ts'
import { singleTable } from './table.ts'

/**
 * Compiles a data query. `parameters` are the names of the bucket parameters in the order of the bucket's name, or null
 * when they are not known.
 */
export function compileDataQuery(
  context: Context,
  source: ScalarText,
  label: string,
  parameters: readonly string[] | null,
): DataQuery | null {
  const sql = new Sql(source, context.findings)
  const select = sql.select(false)
  if (!select) return null
  const table = singleTable(sql, select, context.defaultSchema)
  if (!table) return null
  const names = {
    dialect: 'legacy',
    fixedJson: context.fixedJson,
    table: table.name,
    wildcard: table.pattern.wildcard,
    elements: null,
    request: false,
  } as const
  const builder = new ExpressionBuilder(sql, scopeOf(sql, names))
  const alternatives = select.where
    ? new DataFilter(builder, context.limits.disjuncts).match(select.where)
    : [{ components: [], filters: [] }]
  const columns = dataColumns(builder, select.columns, table, true)
  context.schema?.checkQuery(sql, table, select)
  context.schema?.checkBytes(sql, table.pattern, columns, select)
  if (!alternatives || !parameters) return null
  const used = idsOf(alternatives[0])
  if (used.length !== parameters.length || !used.every((name) => parameters.includes(name))) {
    sql.error(
      'bucket-parameters',
      `The query must use all bucket parameters and no others: expected ${list(parameters)}, got ${list(used)}.`,
      select,
    )
    return null
  }
  const branches = alternatives.map((alternative) => branchOf(alternative, parameters, context.copyTraps))
  return { label, table: table.pattern, output: table.output, columns, branches }
}

const list = (names: readonly string[]): string =>
  names.length === 0 ? 'none' : names.map((name) => `bucket.${name}`).join(', ')

class DataFilter {
  readonly #builder: ExpressionBuilder
  readonly #most: number

  constructor(builder: ExpressionBuilder, most: number) {
    this.#builder = builder
    this.#most = most
  }

  match(node: SqlExpr): Alternative[] | null {
    if (!mentionsBucket(node)) {
      const filter = this.#builder.build(node)
      return filter && filterOnly(filter)
    }
    // A bucket parameter as a condition of its own holds when it is exactly 1.
    const flag = bucketName(node)
    if (flag !== null) return [{ components: [{ id: flag, row: integer(1), node, rowArray: false }], filters: [] }]
    if (node.type === 'binary') {
      if (node.op === 'AND') return this.#and(node)
      if (node.op === 'OR') return this.#or(node)
      if (node.op === '=') return this.#equal(node)
      if (node.op === 'IN') return this.#in(node)
    }
    const message =
      'Bucket parameters can only be compared with =, be on the left of IN, or be a condition by themselves, joined by AND and OR.'
    return this.#refuse(
      message,
      node.type === 'unary' && isMatch(node.operand) ? node.operand : (firstBucket(node) ?? node),
    )
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
      return this.#refuse('Only one IN with a bucket parameter is possible.', node)
    }
    return all
  }

  #or(node: ExprBinary): Alternative[] | null {
    const left = this.match(node.left)
    const right = this.match(node.right)
    if (!left || !right) return null
    if (idsOf(left[0]).join() !== idsOf(right[0]).join()) {
      this.#builder.sql.error(
        'or-parameters',
        'Both sides of OR must use the same bucket parameters: split the query into two.',
        node,
      )
      return null
    }
    return [...left, ...right]
  }

  #equal(node: ExprBinary): Alternative[] | null {
    const left = bucketName(node.left)
    const right = bucketName(node.right)
    if (left !== null && right !== null)
      return this.#refuse('A bucket parameter cannot be compared with another.', node)
    const id = left ?? right
    const other = left === null ? node.left : node.right
    if (id === null) {
      const inside = isMatch(node.left) || isMatch(node.right) ? node : (firstBucket(node) ?? node)
      return this.#refuse('Bucket parameters cannot be used inside expressions.', inside)
    }
    const row = this.#builder.build(other)
    return row && [{ components: [{ id, row, node, rowArray: false }], filters: [] }]
  }

  #in(node: ExprBinary): Alternative[] | null {
    const id = bucketName(node.left)
    if (id === null)
      return this.#refuse('A bucket parameter can only stand alone on the left of IN.', firstBucket(node) ?? node)
    const row = this.#builder.build(node.right)
    return row && [{ components: [{ id, row, node, rowArray: true }], filters: [] }]
  }

  #refuse(message: string, node: SqlExpr): null {
    this.#builder.sql.error('bucket-parameter', message, node)
    return null
  }
}

const bucketName = (node: SqlExpr): string | null =>
  node.type === 'ref' && node.table?.name === 'bucket' && !node.table.schema ? node.name : null

/** Compiles a comparison that puts a row into a bucket. */
const isMatch = (node: SqlExpr): boolean =>
  node.type === 'binary' &&
  (node.op === '=' || node.op === 'IN') &&
  (bucketName(node.left) ?? bucketName(node.right)) !== null

const mentionsBucket = (node: SqlExpr): boolean => firstBucket(node) !== null

/** Returns the first bucket parameter in the expression. */
function firstBucket(node: SqlExpr): SqlExpr | null {
  if (bucketName(node) !== null) return node
  switch (node.type) {
    case 'binary':
      return firstBucket(node.left) ?? firstBucket(node.right)
    case 'unary':
    case 'cast':
    case 'member':
      return firstBucket(node.operand)
    case 'call':
      return firstOf(node.args)
    case 'list':
    case 'array':
      return firstOf(node.expressions)
    default:
      return null
  }
}

function firstOf(nodes: readonly SqlExpr[]): SqlExpr | null {
  for (const node of nodes) {
    const found = firstBucket(node)
    if (found) return found
  }
  return null
}
