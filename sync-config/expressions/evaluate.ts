import type { Environment } from './environment.ts'
import { canonical, isFixed, readsSubscription, type Expr } from './expression.ts'
import { functions } from './functions.ts'
import type { Json } from './json.ts'
import { compileLazy, type Evaluate } from './lazy.ts'
import { fixedLists, operators } from './operators.ts'
import { arrowOf, jsonOf } from './paths.ts'
import { identity, isNull, textForm } from './values.ts'

export type { Evaluate }

/**
 * Compiles an expression into a closure, because Workers forbid `eval`. Throws Error for a function that this version
 * does not know. With `once`, for a request, parts that no loop changes are computed once.
 */
export function compileExpression(expr: Expr, once = false): Evaluate {
  if (!once || !isFixed(expr) || (expr[0] !== 'call' && expr[0] !== 'member')) return compile(expr, once)
  const evaluate = compile(expr, once)
  const key = `value ${canonical(expr)}`
  const own = readsSubscription(expr)
  return (e) => (e.memo ? e.memo.get(key, own, () => evaluate(e)) : evaluate(e))
}

function compile(expr: Expr, once: boolean): Evaluate {
  switch (expr[0]) {
    case 'null':
      return () => null
    case 'int': {
      const value = BigInt(expr[1])
      return () => value
    }
    case 'real':
    case 'text': {
      const value = expr[1]
      return () => value
    }
    case 'column': {
      const name = expr[1]
      // A row without such a column must not return a member that every object inherits.
      if (name in Object.prototype) return (e) => (Object.hasOwn(e.row, name) ? e.row[name] : undefined)
      return (e) => e.row[name]
    }
    case 'meta': {
      const what = expr[1]
      return (e) => e[what]
    }
    case 'each': {
      const [, n, part] = expr
      return part === 'other' ? () => null : (e) => e.elements[n]?.[part]
    }
    case 'output': {
      const [, n, m] = expr
      return (e) => e.outputs[n]?.[m]
    }
    case 'request': {
      const source = expr[1]
      return source === 'token_sub' ? (e) => e.request.tokenSub : (e) => e.request[source]
    }
    case 'member': {
      const [, of, name] = expr
      if (typeof name === 'string') return (e) => e.request.member(of, name)
      const computed = compileExpression(name, once)
      return (e) => {
        const text = textForm(computed(e))
        return text === null ? null : e.request.member(of, text)
      }
    }
    case 'call': {
      const args = expr[2].map((arg) => compileExpression(arg, once))
      return (
        (once ? compileFixed(expr[1], expr[2], args) : null) ?? compileLazy(expr[1], args) ?? compileCall(expr[1], args)
      )
    }
  }
}

const arrows: ReadonlyMap<string, { as: 'json' | 'value'; fixed: boolean }> = new Map([
  ['->', { as: 'json', fixed: true }],
  ['->>', { as: 'value', fixed: true }],
  ['->_1', { as: 'json', fixed: false }],
  ['->>_1', { as: 'value', fixed: false }],
])

/** Returns the closure for a call over JSON that no loop changes and so is parsed once, or null for other calls. */
function compileFixed(name: string, exprs: readonly Expr[], args: readonly Evaluate[]): Evaluate | null {
  const [first, second] = exprs
  const [a, b] = args
  if (!first || !second || !a || !b || args.length !== 2) return null
  const arrow = arrows.get(name)
  if (arrow && isFixed(first)) {
    const key = `json ${canonical(first)}`
    const own = readsSubscription(first)
    const parsed = (e: Environment): Json | undefined => {
      const left = a(e)
      return isNull(left) ? undefined : jsonOf(left)
    }
    return (e) => {
      const path = b(e)
      if (isNull(path)) return null
      const json = e.memo ? e.memo.get(key, own, () => parsed(e)) : parsed(e)
      return json === undefined ? null : arrowOf(json, path, arrow.as, arrow.fixed)
    }
  }
  const list = fixedLists.get(name)
  if (!list || !isFixed(second)) return null
  const key = `${name} ${canonical(second)}`
  const own = readsSubscription(second)
  const elements = (e: Environment): ReadonlySet<string> | null => {
    const value = b(e)
    return isNull(value) ? null : list.elements(value)
  }
  return (e) => {
    const value = a(e)
    // In the written order: a NULL value decides before the list is read, unless the list is NULL too.
    if (isNull(value)) return isNull(b(e)) ? list.nullList : list.nullValue
    const found = e.memo ? e.memo.get(key, own, () => elements(e)) : elements(e)
    return found === null ? list.nullList : list.holds(found.has(identity(value) ?? ''))
  }
}

function compileCall(name: string, args: Evaluate[]): Evaluate {
  const [a, b] = args
  const found = operators.get(name) ?? functions.get(name)
  if (!found) throw new Error(`the plan uses the function ${JSON.stringify(name)}, which this version does not know`)
  const evaluate = found.evaluate
  if (a && args.length === 1) return (e) => evaluate([a(e)])
  if (a && b && args.length === 2) return (e) => evaluate([a(e), b(e)])
  return (e) => evaluate(args.map((arg) => arg(e)))
}
