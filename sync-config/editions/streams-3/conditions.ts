import type { ExprBinary, SelectFromStatement } from 'pgsql-ast-parser'
import { call, type Expr } from '../../expressions/expression.ts'
import type { Sql, SqlExpr } from '../../parse/sql.ts'
import type { Work } from '../../parse/work.ts'
import type { ExpressionBuilder } from '../../expressions/build.ts'
import type { Item, Nodes, Side } from './nodes.ts'

/** A condition with negations pushed inwards. `equal` compares two different sides; a `test` reads at most one side. */
export type Condition =
  | { and: Condition[] }
  | { or: Condition[]; node: SqlExpr }
  | { test: Expr; side: Side | null; node: SqlExpr }
  | { equal: readonly [Expr, Expr]; sides: readonly [Side, Side]; node: SqlExpr }

/** An operand of IN or &&: a value to compare with. */
interface Operand {
  expr: Expr
  conditions: Condition[]
}

/** A SELECT, as its conditions see it. */
export interface ConditionScope<C> {
  readonly nodes: Nodes
  readonly sql: Sql
  readonly ctes: ReadonlyMap<string, C>
  readonly conditions: Condition[]
  readonly broken: boolean
  builder(scalarIn?: boolean): ExpressionBuilder
  read(select: SelectFromStatement): void
  item(name: string): Item | null
  cteItem(cte: C, name: string): Item | null
  each(arg: SqlExpr, name: string): Item | null
  /** Compiles another SELECT in the same text. With `within` it knows the names of this one. */
  another(within: boolean): ConditionScope<C>
}

/** Compiles SQL into conditions, and rewrites IN and && to joins. */
export class Conditions<C extends { name: string }> {
  readonly #scope: ConditionScope<C>

  constructor(scope: ConditionScope<C>) {
    this.#scope = scope
  }

  /** Returns null after reporting an error. */
  read(node: SqlExpr, negated: boolean): Condition | null {
    if (node.type === 'unary' && node.op === 'NOT') return this.read(node.operand, !negated)
    if (node.type === 'binary') {
      const { op } = node
      if (op === 'AND' || op === 'OR') {
        const left = this.read(node.left, negated)
        const right = this.read(node.right, negated)
        if (!left || !right) return null
        return (op === 'AND') !== negated ? { and: [left, right] } : { or: [left, right], node }
      }
      if ((op === '=' && !negated) || (op === '!=' && negated)) return this.#equal(node)
      if (op === 'IN' || op === 'NOT IN') return this.#in(node, (op === 'NOT IN') !== negated)
      if (op === '&&') return this.#overlap(node, negated)
    }
    const expr = this.#scope.builder().build(node)
    return expr && this.#test(negated ? call('not', expr) : expr, node)
  }

  #equal(node: ExprBinary): Condition | null {
    const builder = this.#scope.builder()
    const left = builder.build(node.left)
    const right = builder.build(node.right)
    return left && right && this.#same(left, right, node)
  }

  #same(left: Expr, right: Expr, node: SqlExpr): Condition | null {
    const { nodes } = this.#scope
    const [a, ...moreA] = nodes.sides(left)
    const [b, ...moreB] = nodes.sides(right)
    if (moreA.length > 0 || moreB.length > 0 || a === undefined || b === undefined || a === b)
      return this.#test(call('=', left, right), node)
    return { equal: [left, right], sides: [a, b], node }
  }

  #test(expr: Expr, node: SqlExpr): Condition | null {
    const { nodes, sql } = this.#scope
    const [first, ...more] = nodes.leaves(expr)
    const other = more.find(({ side }) => side !== first?.side)
    if (!first || !other) return { test: expr, side: first?.side ?? null, node }
    sql.error(
      'mixed-sides',
      'Values of different tables, or of a row and the request, can only be compared with = or IN.',
      nodes.written(other.leaf) ?? node,
    )
    return null
  }

  #in(node: ExprBinary, negated: boolean): Condition | null {
    const { sql } = this.#scope
    const right = node.right
    const list =
      right.type === 'array' ||
      right.type === 'list' ||
      (right.type === 'call' && right.function.name.toLowerCase() === 'row')
    const subquery = right.type === 'select' || this.#cteOf(right) !== null
    if (list) {
      const expr = this.#scope.builder().build({ ...node, op: 'IN' })
      return expr && this.#test(negated ? call('not', expr) : expr, node)
    }
    if (negated && !subquery) return this.#notIn(node)
    if (negated) {
      sql.error(
        'not-in-select',
        'NOT IN (SELECT …) is not supported: no row may be equal, which cannot be watched. Keep a column that says it.',
        (right.type === 'select' && right.columns?.[0]?.expr) || right,
      )
      return null
    }
    const left = this.#scope.builder().build(node.left)
    if (!subquery) this.#scope.builder().warnUnlessArray(right)
    const operand = this.#operand(right)
    if (!left || !operand) return null
    const same = this.#same(left, operand.expr, node)
    return same && { and: [same, ...operand.conditions] }
  }

  /**
   * Requires that no element of an array is equal. `x NOT IN l` holds when `l` is NULL, as in the reference; `NOT (x IN
   * l)` does not.
   */
  #notIn(node: ExprBinary): Condition | null {
    const builder = this.#scope.builder()
    builder.warnUnlessArray(node.right)
    const left = builder.build(node.left)
    const right = builder.build(node.right)
    return left && right && this.#test(call(node.op === 'NOT IN' ? 'not in' : 'not(in)', left, right), node)
  }

  #overlap(node: ExprBinary, negated: boolean): Condition | null {
    const { sql } = this.#scope
    const left = this.#operand(node.left)
    const right = this.#operand(node.right)
    if (!left || !right) return null
    const same = this.#same(left.expr, right.expr, node)
    if (!same) return null
    if (negated || !('equal' in same)) {
      sql.error(
        'overlap',
        negated ? 'NOT (a && b) is not supported.' : 'One side of && must come from another table or from the request.',
        node,
      )
      return null
    }
    return { and: [same, ...left.conditions, ...right.conditions] }
  }

  #cteOf(node: SqlExpr): string | null {
    if (node.type !== 'ref' || node.table || this.#scope.item(node.name)) return null
    return this.#scope.ctes.has(node.name.toLowerCase()) ? node.name.toLowerCase() : null
  }

  /** Compiles the right side of IN: a sub-select's column, a CTE's column, or the elements of an array. */
  #operand(node: SqlExpr): Operand | null {
    const scope = this.#scope
    if (node.type === 'select') return this.#subquery(node)
    const cte = scope.ctes.get(this.#cteOf(node) ?? '')
    if (cte) {
      const inner = scope.another(false)
      const item = inner.cteItem(cte, cte.name)
      if (!item) return null
      const [expr, ...more] = item.columns?.values() ?? []
      if (!expr || more.length > 0) return this.#oneColumn(node)
      return { expr, conditions: inner.conditions }
    }
    const item = scope.each(node, 'json_each')
    const value = item?.column('value')
    return value ? { expr: value, conditions: [] } : null
  }

  #subquery(select: SelectFromStatement): Operand | null {
    const scope = this.#scope
    if (!scope.sql.clauses(select, true)) return null
    const inner = scope.another(true)
    inner.read(select)
    const [column, ...more] = select.columns ?? []
    if (!column || more.length > 0 || (column.expr.type === 'ref' && column.expr.name === '*'))
      return this.#oneColumn(select)
    const expr = inner.builder(false).build(column.expr)
    return expr && !inner.broken ? { expr, conditions: inner.conditions } : null
  }

  #oneColumn(node: SqlExpr): null {
    this.#scope.sql.error('one-column', 'The right side of IN must have exactly one column.', node)
    return null
  }
}

/** A disjunct: conditions that must all hold. */
export type Conjunct = Exclude<Condition, { and: unknown } | { or: unknown }>

/** Returns the expressions in a condition. */
export function exprsOf(condition: Condition): Expr[] {
  if ('and' in condition) return condition.and.flatMap(exprsOf)
  if ('or' in condition) return condition.or.flatMap(exprsOf)
  return 'test' in condition ? [condition.test] : [...condition.equal]
}

/** Bounds and counts the work of making disjuncts. */
interface Bounds {
  /** The largest number of disjuncts to which the ORs under one AND may multiply out. */
  most: number
  work: Work
  /** Returns whether a test may be merged with others over its side. */
  mergeable(test: Expr): boolean
}

/** Returns the disjunctive normal form, or null when it is too big. ORs over one side stay one test. */
export function disjuncts(conditions: readonly Condition[], bounds: Bounds): Conjunct[][] | null {
  const whole: Condition = { and: [...conditions] }
  return count(whole, bounds.most) === null ? null : normal(whole, bounds)
}

/** Returns the disjuncts before merging, or null when an AND has too many. */
function count(condition: Condition, most: number): number | null {
  const parts = 'and' in condition ? condition.and : 'or' in condition ? condition.or : []
  if (parts.length === 0) return 1
  let total = 'and' in condition ? 1 : 0
  for (const part of parts) {
    const n = count(part, most)
    if (n === null) return null
    total = 'and' in condition ? total * n : total + n
    if ('and' in condition && total > most) return null
  }
  return total
}

const flattened = (condition: Condition): Condition[] =>
  'and' in condition ? condition.and.flatMap(flattened) : [condition]

function normal(condition: Condition, bounds: Bounds): Conjunct[][] {
  if ('and' in condition) {
    // Conditions that are in every disjunct are added once, at the end: a chain of ANDs costs its length, not the
    // square of it.
    const always: Conjunct[] = []
    let out: Conjunct[][] = [[]]
    for (const part of flattened(condition)) {
      const found = normal(part, bounds)
      const [only, ...more] = found
      if (only && more.length === 0) {
        always.push(...only)
        continue
      }
      out = out.flatMap((left) =>
        found.map((right) => {
          bounds.work.step('plan', left.length + right.length)
          return [...left, ...right]
        }),
      )
    }
    bounds.work.step('plan', always.length * out.length)
    return out.map((disjunct) => [...always, ...disjunct])
  }
  if (!('or' in condition)) return [[condition]]
  const all = condition.or.flatMap((part) => normal(part, bounds))
  const merged = new Map<Side | null, { test: Expr; side: Side | null; node: SqlExpr }>()
  const rest: Conjunct[][] = []
  for (const disjunct of all) {
    bounds.work.step('plan', disjunct.length)
    const pure = pureTest(disjunct, bounds)
    if (!pure) rest.push(disjunct)
    else {
      const before = merged.get(pure.side)
      merged.set(
        pure.side,
        before ? { ...before, test: call('or', before.test, pure.test) } : { ...pure, node: condition.node },
      )
    }
  }
  return [...[...merged.values()].map((test): Conjunct[] => [test]), ...rest]
}

/** Returns the disjunct as one test when all of it reads the same single side. */
function pureTest(
  disjunct: Conjunct[],
  { mergeable }: Bounds,
): { test: Expr; side: Side | null; node: SqlExpr } | null {
  const [first] = disjunct
  if (!first || !('test' in first)) return null
  let test: Expr | null = null
  for (const part of disjunct) {
    if (!('test' in part) || part.side !== first.side || !mergeable(part.test)) return null
    test = test ? call('and', test, part.test) : part.test
  }
  return test && { ...first, test }
}
