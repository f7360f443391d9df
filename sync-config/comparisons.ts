import { some, type Expr } from './expressions/expression.ts'
import { expressionText } from './explain.ts'
import type { Definition, Lookup, Program, TablePattern } from './plan/plan.ts'
import type { SchemaCheck, ValueKind } from './schema.ts'

/** A side of a comparison whose values are all of one kind. */
interface Typed {
  kind: ValueKind
  /** The side as text for people, with its type. */
  text: string
  /** What to write to make it text, or null when there is no advice. */
  asText: string | null
}

/** How the expressions at one place get their values. */
type TypeOf = (expr: Expr) => Typed | null

/** Functions that return text or NULL. */
const TEXTS = new Set(['upper', 'lower', 'substring', 'hex', 'base64', '||', 'cast text', 'typeof'])

/** IN and its negations with a JSON array on the right. */
const IN_JSON = new Set(['in', 'not in', 'not(in)'])

/**
 * Finds comparisons of a stream that are never true because the values are of different kinds: 7 and '7' differ, as in
 * SQLite. It needs the types of the database, and uses a value of the request when it is always text. Returns each
 * message once, with the sides of the comparison.
 */
export function neverEqual(
  program: Program,
  definitions: readonly Definition[],
  lookups: readonly Lookup[],
  schema: SchemaCheck,
): { message: string; sides: Expr[] }[] {
  const found = new Map<string, Expr[]>()
  const compare = (a: Typed | null, b: Typed | null, sides: Expr[]): void => {
    if (!a || !b || a.kind === b.kind) return
    const advice = (a.kind === 'text' ? b : a).asText
    const message = `${a.text} and ${b.text} are never equal${advice === null ? '' : `: write ${advice}`}.`
    if (!found.has(message)) found.set(message, sides)
  }
  /** Reports the first element that is of another kind. Others may be equal. */
  const compareEach = (a: Typed | null, elements: readonly (Typed | null)[], sides: Expr[]): void => {
    const other = elements.find((each) => a && each && each.kind !== a.kind)
    if (other) compare(a, other, sides)
  }
  const inside = (expr: Expr | null, typeOf: TypeOf): void => {
    if (!expr) return
    some(expr, (part) => {
      if (part[0] !== 'call') return false
      const [left, ...rest] = part[2]
      const [right] = rest
      if (!left || !right) return false
      if (part[1] === '=') compare(typeOf(left), typeOf(right), [left, right])
      else if (part[1] === 'in list') compareEach(typeOf(left), rest.map(typeOf), [...part[2]])
      else if (IN_JSON.has(part[1])) compareEach(typeOf(left), elementsOf(right), [left, right])
      return false
    })
  }
  const ofRow =
    (table: TablePattern): TypeOf =>
    (expr) =>
      expr[0] === 'column' ? column(schema, table, expr[1]) : fixed(expr)
  for (const { definition, steps, parameters } of program.variants) {
    /** The lookups so far, in order. */
    const asked: Lookup[] = []
    /** The lists whose elements are tried one by one. */
    const lists: Expr[] = []
    const against = (key: Expr, column: Typed | null, value: Expr): void => {
      const list = value[0] === 'each' && value[2] === 'value' ? lists[value[1]] : undefined
      if (list) compareEach(column, elementsOf(list), [key, list])
      // The result of a lookup was written at the lookup.
      else compare(column, ofRequest(value), value[0] === 'output' ? [key] : [key, value])
    }
    const ofRequest: TypeOf = (expr) => {
      const lookup = expr[0] === 'output' ? asked[expr[1]] : undefined
      if (expr[0] !== 'output' || !lookup) return fixed(expr)
      const types = lookup.branches
        .map(({ outputs }) => outputs[expr[2]])
        .map((output) => output && ofRow(lookup.table)(output))
      return types.every((type) => type?.kind === types[0]?.kind) ? (types[0] ?? null) : null
    }
    for (const step of steps) {
      if ('filter' in step) inside(step.filter, ofRequest)
      if ('each' in step) lists.push(step.each.expr)
      const lookup = 'lookup' in step ? lookups[step.lookup] : undefined
      if (!('lookup' in step) || !lookup) continue
      for (const { keys, filter } of lookup.branches) {
        inside(filter, ofRow(lookup.table))
        keys.forEach(({ expr }, i) => against(expr, ofRow(lookup.table)(expr), step.keys[i]?.expr ?? ['null']))
      }
      asked.push(lookup)
    }
    for (const { table, branches } of definitions[definition]?.queries ?? []) {
      for (const { keys, filter } of branches) {
        inside(filter, ofRow(table))
        keys.forEach(({ expr }, i) => against(expr, ofRow(table)(expr), parameters[i]?.expr ?? ['null']))
      }
    }
  }
  return Array.from(found, ([message, sides]) => ({ message, sides }))
}

function column(schema: SchemaCheck, table: TablePattern, name: string): Typed | null {
  const type = schema.typeOf(table, name)
  if (!type) return null
  // A cast of a boolean gives 1 or 0, of a float 7.0, which equals a written value only by chance.
  const asText = type.kind === 'bytes' ? `hex(${name})` : /^int|^oid$/.test(type.name) ? `${name}::text` : null
  return { kind: type.kind, text: `${table.name}.${name} (${type.name})`, asText }
}

/**
 * Returns the kind of an expression that needs no table. Text views of the request may come from numbers but are text;
 * members and JSON may be either.
 */
function fixed(expr: Expr): Typed | null {
  const text = expressionText(expr)
  if (expr[0] === 'request' && expr[1] === 'sub')
    return { kind: 'text', text: 'the user id (text, unless tokens have a number as sub)', asText: null }
  if (expr[0] === 'text') return { kind: 'text', text: `${text} (text)`, asText: null }
  if (expr[0] === 'int') return { kind: 'number', text: `${text} (a number)`, asText: `'${text}'` }
  if (expr[0] === 'call' && TEXTS.has(expr[1])) return { kind: 'text', text: `${text} (text)`, asText: null }
  return null
}

/** Returns the elements of a JSON array that is written as a literal. Nothing is known about other arrays. */
function elementsOf(list: Expr): (Typed | null)[] {
  if (list[0] !== 'text') return []
  try {
    const parsed: unknown = JSON.parse(list[1])
    return Array.isArray(parsed) ? parsed.map(ofJson) : []
  } catch {
    return []
  }
}

function ofJson(value: unknown): Typed | null {
  const text = JSON.stringify(value)
  if (typeof value === 'string') return { kind: 'text', text: `${text} (text)`, asText: null }
  return typeof value === 'number' ? { kind: 'number', text: `${text} (a number)`, asText: `"${text}"` } : null
}
