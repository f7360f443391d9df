import { walk } from '../expressions/elements.ts'
import type { Element, Environment } from '../expressions/environment.ts'
import { compileExpression, type Evaluate } from '../expressions/evaluate.ts'
import { conjunction, some, type Expr } from '../expressions/expression.ts'
import { EvaluationFailure, isNull, keyText, NestedJson, truth } from '../expressions/values.ts'
import { MAX_BUCKET_NAME_BYTES, MAX_ROW_ROUNDS } from '../limits.ts'
import type { Branch, Key } from '../plan/plan.ts'

/** Returns whether the name of a bucket is too long. A UTF-16 unit has 1 to 3 bytes. */
export const longName = (name: string): boolean =>
  name.length > MAX_BUCKET_NAME_BYTES / 3 &&
  (name.length > MAX_BUCKET_NAME_BYTES || Buffer.byteLength(name) > MAX_BUCKET_NAME_BYTES)

interface CompiledKey {
  evaluate: Evaluate
  nulls: boolean
}

/** `once`: see `compileExpression`. */
export const compileKeys = (keys: readonly Key[], once = false): CompiledKey[] =>
  keys.map(({ expr, nulls }) => ({ evaluate: compileExpression(expr, once), nulls }))

/** Returns the JSON array of a key, or undefined when a part cannot be in a key. */
export function keyOf(keys: readonly CompiledKey[], environment: Environment): string | undefined {
  let out = '['
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i]
    if (!key) break
    const value = key.evaluate(environment)
    if (isNull(value) && !key.nulls) return undefined
    // The beginning of a long text is enough to see that the name is too long.
    const text = keyText(
      typeof value === 'string' && value.length > MAX_BUCKET_NAME_BYTES
        ? value.slice(0, MAX_BUCKET_NAME_BYTES + 1)
        : value,
    )
    if (text === undefined) return undefined
    out += i === 0 ? text : `,${text}`
  }
  return `${out}]`
}

/**
 * Calls `found` with the key of every combination of elements that passes the filter. Equal elements count once unless
 * `repeats`. Throws EvaluationFailure before the first call when there are too many combinations.
 */
export function branchReader(
  branch: Branch,
  { outputs = [], repeats }: { outputs?: readonly Expr[]; repeats: boolean },
): (environment: Environment, found: (key: string) => void) => void {
  const used: Expr[] = [...branch.keys.map(({ expr }) => expr), ...outputs, ...(branch.filter ? [branch.filter] : [])]
  const each = branch.each.map(({ expr, how }, n) => {
    const byPosition = used.some((expr) =>
      some(expr, (part) => part[0] === 'each' && part[1] === n && part[2] === 'key'),
    )
    return { evaluate: compileExpression(expr), how, all: repeats || byPosition }
  })
  // Conditions that read no element are checked before any array is visited.
  const ofElement = (expr: Expr): boolean => some(expr, (part) => part[0] === 'each')
  const conditions = each.length === 0 ? [] : conjuncts(branch.filter)
  const first = conjunction(conditions.filter((condition) => !ofElement(condition)))
  const rest = each.length === 0 ? branch.filter : conjunction(conditions.filter(ofElement))
  const before = first && compileExpression(first)
  const filter = rest && compileExpression(rest)
  const keys = compileKeys(branch.keys)
  const finish = (environment: Environment, found: (key: string) => void): void => {
    if (filter && !truth(filter(environment))) return
    const key = keyOf(keys, environment)
    if (key !== undefined) found(key)
  }
  if (each.length === 0) return finish
  return (environment, found) => {
    if (before && !truth(before(environment))) return
    let combinations = 1
    const arrays: Element[][] = []
    for (const { evaluate, how, all } of each) {
      const walked = walk(evaluate(environment), how)
      const elements = all ? walked : distinctElements(walked)
      if (elements.length === 0) return
      combinations *= elements.length
      arrays.push(elements)
    }
    if (combinations > MAX_ROW_ROUNDS) {
      throw new EvaluationFailure(
        `the arrays of the row have ${combinations} combinations of elements, more than ${MAX_ROW_ROUNDS}`,
      )
    }
    const descend = (n: number): void => {
      const elements = arrays[n]
      if (!elements) return finish(environment, found)
      for (const element of elements) {
        environment.elements[n] = element
        descend(n + 1)
      }
    }
    environment.elements = []
    descend(0)
  }
}

/** Returns the parts of a condition that are joined by AND. */
const conjuncts = (expr: Expr | null): Expr[] =>
  expr === null ? [] : expr[0] === 'call' && expr[1] === 'and' ? expr[2].flatMap(conjuncts) : [expr]

/** Returns elements with equal values once. 1 and 1.0 are different, because an expression may distinguish them. */
function distinctElements(elements: Element[]): Element[] {
  if (elements.length < 2) return elements
  const found = new Map<unknown, Element>()
  for (const element of elements) {
    const { value } = element
    const identity =
      value instanceof NestedJson ? `json ${value.json}` : typeof value === 'string' ? `text ${value}` : value
    if (!found.has(identity)) found.set(identity, element)
  }
  return found.size === elements.length ? elements : [...found.values()]
}
