import type { Environment } from './environment.ts'
import type { Expr } from './expression.ts'
import { functions } from './functions.ts'
import { operators } from './operators.ts'
import { bool, textForm, truth, type Value } from './values.ts'

export type Evaluate = (environment: Environment) => Value

/** Makes a closure of an expression: Workers forbid `eval`. Throws Error for a function that this version does not know. */
export function compileExpression(expr: Expr): Evaluate {
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
      // A row without such a column must not answer with what every object has.
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
      const computed = compileExpression(name)
      return (e) => {
        const text = textForm(computed(e))
        return text === null ? null : e.request.member(of, text)
      }
    }
    case 'call':
      return compileCall(expr[1], expr[2].map(compileExpression))
  }
}

function compileCall(name: string, args: Evaluate[]): Evaluate {
  const [a, b] = args
  if (a && b && args.length === 2) {
    // The second side is not evaluated when the first decides: a row that fails there must not be lost.
    if (name === 'and') return (e) => (truth(a(e)) ? bool(truth(b(e))) : 0n)
    if (name === 'or') return (e) => (truth(a(e)) ? 1n : bool(truth(b(e))))
  }
  const found = operators.get(name) ?? functions.get(name)
  if (!found) throw new Error(`the plan uses the function ${JSON.stringify(name)}, which this version does not know`)
  const evaluate = found.evaluate
  if (a && args.length === 1) return (e) => evaluate([a(e)])
  if (a && b && args.length === 2) return (e) => evaluate([a(e), b(e)])
  return (e) => evaluate(args.map((arg) => arg(e)))
}
