import type { Expr } from '../expressions/expression.ts'
import type { Branch, PlanContent } from './plan.ts'

/**
 * Returns the first expression of a plan for which SQLite could give another value than we do, or null when they agree
 * for all data. They differ in the truth of text, NOT and !=, the text of REAL, code points, JSON that is printed
 * again, and order outside the first plane.
 */
export function differsInSqlite(content: PlanContent): Expr | null {
  const found: Expr[] = []
  const values = (exprs: readonly Expr[]): void => void found.push(...exprs.filter((expr) => !sameValue(expr)))
  const condition = (expr: Expr | null): void => void (expr && !sameCondition(expr) && found.push(expr))
  const branch = ({ each, filter, keys }: Branch): void => {
    values([...each.map(({ expr }) => expr), ...keys.map(({ expr }) => expr)])
    condition(filter)
  }
  for (const { columns, branches } of content.definitions.flatMap(({ queries }) => queries)) {
    values(columns.flatMap((column) => ('all' in column ? [] : [column.expr])))
    branches.forEach(branch)
  }
  for (const each of content.lookups.flatMap(({ branches }) => branches)) {
    branch(each)
    values(each.outputs)
  }
  for (const { steps, parameters } of content.programs.flatMap(({ variants }) => variants)) {
    values(parameters.map(({ expr }) => expr))
    for (const step of steps) {
      if ('filter' in step) condition(step.filter)
      else values('each' in step ? [step.each.expr] : step.keys.map(({ expr }) => expr))
    }
  }
  return found[0] ?? null
}

const INT64 = 2n ** 63n
/**
 * Below the surrogates UTF-16 and UTF-8 have the same order, also between a text of such characters and any other text.
 */
const isPlain = (text: string): boolean => /^[\0-\ud7ff]*$/.test(text)
const isLiteral = (expr: Expr | undefined): boolean =>
  expr?.[0] === 'int' || expr?.[0] === 'real' || (expr?.[0] === 'text' && isPlain(expr[1]))

function sameValue(expr: Expr): boolean {
  switch (expr[0]) {
    case 'int': {
      const value = BigInt(expr[1])
      return value >= -INT64 && value < INT64
    }
    case 'member':
      return false
    case 'call': {
      const [, name, args] = expr
      const [first, second] = args
      if (name === '->>')
        return first?.[0] === 'request' && second?.[0] === 'text' && /^(?:\$\.)?[A-Za-z_]\w*$/.test(second[1])
      if (name === 'ifnull' || name === 'typeof' || name === 'in list') return args.every(sameValue)
      if (name === 'iif') return first !== undefined && sameCondition(first) && args.slice(1).every(sameValue)
      if (name === 'case')
        return args.every((arg, i) => (i % 2 === 0 && i + 1 < args.length ? sameCondition(arg) : sameValue(arg)))
      return sameTest(expr)
    }
    default:
      return true
  }
}

/** Compares in WHERE, where false and NULL are the same. */
function sameCondition(expr: Expr): boolean {
  if (expr[0] === 'int') return sameValue(expr)
  if (expr[0] !== 'call') return false
  const [, name, args] = expr
  if (name === 'and' || name === 'or') return args.every(sameCondition)
  // We evaluate the comparisons of joins in both cases.
  if (name === 'same key') return args.every(sameValue)
  return name === 'in list' ? sameValue(expr) : sameTest(expr)
}

/**
 * Returns true for tests that are 1, 0 or NULL in both. We do not compare two BLOBs, so one side must be a literal or a
 * value of the request.
 */
function sameTest(expr: Expr): boolean {
  if (expr[0] !== 'call') return false
  const [, name, args] = expr
  const [first] = args
  switch (name) {
    case 'is null':
    case 'is':
      return args.every(sameValue)
    case 'not':
      return first?.[0] === 'call' && (first[1] === 'is null' || first[1] === 'is') && sameTest(first)
    case '=':
      return (
        args.every(sameValue) &&
        args.some((arg) => isLiteral(arg) || arg[0] === 'request' || (arg[0] === 'call' && arg[1] === '->>'))
      )
    case '<':
    case '<=':
    case '>':
    case '>=':
      return args.every(sameValue) && args.some(isLiteral)
    case 'between':
      return args.every(sameValue) && args.slice(1).every(isLiteral)
    default:
      return false
  }
}
