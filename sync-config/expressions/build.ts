import type { ExprBinary, ExprCall, ExprRef, ExprUnary } from 'pgsql-ast-parser'
import { closest, shorten, suggestion } from '../../protocol/closest.ts'
import type { FindingCode } from '../parse/codes.ts'
import type { Sql, SqlExpr } from '../parse/sql.ts'
import { call, conjunction, integer, NULL, text, type Expr } from './expression.ts'
import { functions } from './functions.ts'
import { noteWritten } from './places.ts'

export type Dialect = 'legacy' | 'alpha' | 'compiled'

/** The meaning of names at the place of an expression. Methods return null after reporting an error. */
export interface Scope {
  dialect: Dialect
  fixedJson: boolean
  column(ref: ExprRef): Expr | null
  /** Compiles a call with a schema (`request.user_id()`). Returns undefined when this scope has no such call. */
  schemaCall(node: ExprCall, args: readonly Expr[]): Expr | null | undefined
  /** Whether to behave like the reference even where it is wrong. */
  copyTraps: boolean
  /** Whether `x IN array` may be used as a value. It may not in SELECT lists of edition 3. */
  scalarIn?: boolean
  /** Called for each column and request value, with the node in which it was written. */
  built?(expr: Expr, node: SqlExpr): void
}

const comparisons = new Set(['=', '<', '<=', '>', '>='])
/** Integer operators of edition 3. The reference accepts them and then fails for every row. */
const integerOperators = new Map([
  ['%', 'remainder'],
  ['&', 'bit and'],
  ['|', 'bit or'],
  ['<<', 'shift left'],
  ['>>', 'shift right'],
])
const literals = new Set(['integer', 'numeric', 'boolean'])

function kindOfJson(text: string): 'array' | 'other' | null {
  try {
    return Array.isArray(JSON.parse(text)) ? 'array' : 'other'
  } catch {
    return null
  }
}

/** Functions of other databases, with the function that replaces them here. */
const instead = new Map([
  ['coalesce', 'ifnull(a, b)'],
  ['substr', 'substring(text, start, length)'],
  ['concat', 'a || b'],
  ['if', 'iif(condition, a, b)'],
  ['strpos', 'instr(text, part)'],
  ['char_length', 'length(text)'],
  ['exists', 'value IN (SELECT …)'],
  ['any', 'value IN array'],
  ['json_array_elements', 'json_each(array)'],
  ['jsonb_array_length', 'json_array_length(array)'],
])

/** The names of clock functions in Postgres and elsewhere. */
const CLOCK = new Set([
  ...['now', 'current_timestamp', 'current_date', 'current_time', 'localtime', 'localtimestamp', 'clock_timestamp'],
  ...['statement_timestamp', 'transaction_timestamp', 'timeofday', 'getdate', 'sysdate'],
])
const noClock = (name: string): string =>
  `${name} cannot be used: rows are evaluated when they change, not when time passes. Store the result in a column, or compare on the client.`

function hint(name: string, known: readonly string[]): string {
  const other = instead.get(name)
  return other === undefined ? suggestion(closest(name, known)) : ` Write ${other}.`
}

/** Claims that differ in each token. */
const RENEWED = new Set(['iat', 'exp', 'nbf', 'jti'])
const MEMBER = /^(?:->>?|json_extract)(?:_1)?$/

/** Returns the name of such a claim when the expression reads one. */
function renewedClaim(expr: Expr): string | null {
  if (expr[0] !== 'call' || !MEMBER.test(expr[1])) return null
  const [of, path] = expr[2]
  if (of?.[0] !== 'request' || of[1] !== 'jwt' || path?.[0] !== 'text') return null
  const name = path[1].replace(/^\$\./, '')
  return RENEWED.has(name) ? name : null
}

const casts = new Set(['text', 'integer', 'real', 'numeric', 'blob'])

/**
 * Compiles SQL expressions into plan expressions. Reports every error that it finds, and returns null then.
 * The file is long because it is one recursive function over the kinds of SQL expressions.
 */
export class ExpressionBuilder {
  readonly sql: Sql
  readonly scope: Scope

  constructor(sql: Sql, scope: Scope) {
    this.sql = sql
    this.scope = scope
  }

  get #compiled(): boolean {
    return this.scope.dialect === 'compiled'
  }

  #arrow(op: '->' | '->>'): string {
    return this.scope.fixedJson ? op : `${op}_1`
  }

  build(node: SqlExpr): Expr | null {
    const built = this.#build(node)
    // A new object, because places are stored by object.
    const expr: Expr | null = built?.[0] === 'request' ? ['request', built[1]] : built
    if (expr) noteWritten(expr, this.sql.range(node), this.sql)
    const claim = expr && renewedClaim(expr)
    if (claim === null) return expr
    return this.#refuse(
      'renewed-claim',
      `'${claim}' differs in every token: each renewal would give the client new buckets, and download all of its data again. Use a claim that stays the same.`,
      node,
    )
  }

  #build(node: SqlExpr): Expr | null {
    this.sql.work.step('plan')
    switch (node.type) {
      case 'null':
        return NULL
      case 'integer':
        return integer(this.#compiled ? this.#digits(node) : BigInt(node.value))
      case 'numeric':
        return ['real', node.value]
      case 'string':
        return text(node.value)
      case 'boolean':
        return integer(node.value ? 1 : 0)
      case 'ref':
        return this.#told(this.scope.column(node), node)
      case 'binary':
        return this.#binary(node)
      case 'unary':
        return this.#unary(node)
      case 'call':
        return this.#call(node)
      case 'member': {
        const operand = this.build(node.operand)
        if (typeof node.member === 'number' && !this.#compiled) {
          return this.#refuse(
            'operator',
            `${node.op} with a number is not supported here: use a path, '$.${node.member}'.`,
            node,
          )
        }
        const member = typeof node.member === 'number' ? integer(node.member) : text(node.member)
        return operand && call(this.#arrow(node.op), operand, member)
      }
      case 'cast':
        return this.#cast(node)
      case 'case':
      case 'ternary':
        if (!this.#compiled)
          return this.#refuse(
            'operator',
            `${node.type === 'case' ? 'CASE' : node.op} is not supported here; edition 3 has it.`,
            node,
          )
        return node.type === 'case' ? this.#case(node) : this.#between(node)
      case 'select':
      case 'union':
      case 'union all':
      case 'values':
      case 'with':
      case 'with recursive':
      case 'array select':
        return this.#refuse('subquery', 'A sub-select is only possible on the right side of IN in WHERE.', node)
      case 'list':
        return this.#refuse(
          'literal-list',
          "A list of literals is not supported: write IN '[1,2]'" + (this.#compiled ? ' or IN ARRAY[1,2].' : '.'),
          node,
        )
      case 'substring':
        return this.#substring(node)
      case 'parameter':
        return this.#refuse('operator', `Parameters such as ${node.name} are not supported.`, node)
      case 'keyword':
        return CLOCK.has(node.keyword)
          ? this.#refuse('function', noClock(node.keyword), node)
          : this.#refuse('operator', `The keyword ${node.keyword} is not supported.`, node)
      default:
        return this.#refuse('operator', `This kind of expression (${node.type}) is not supported.`, node)
    }
  }

  #told(expr: Expr | null, node: SqlExpr): Expr | null {
    if (expr) this.scope.built?.(expr, node)
    return expr
  }

  /** Compiles both sides, so that errors of both are reported. */
  #pair(left: SqlExpr, right: SqlExpr): [Expr, Expr] | null {
    const a = this.build(left)
    const b = this.build(right)
    return a && b && [a, b]
  }

  #binary(node: ExprBinary): Expr | null {
    const op = node.op
    if (op === 'IN' || op === 'NOT IN') return this.#in(node)
    const supported =
      comparisons.has(op) ||
      ['AND', 'OR', '!=', '+', '-', '*', '/', '||'].includes(op) ||
      (this.#compiled && integerOperators.has(op))
    if (!supported) {
      const hint = /LIKE/.test(op) ? ' Compare with = or use instr(…).' : ''
      return this.#refuse('operator', `The operator ${op} is not supported.${hint}`, node)
    }
    const sides = this.#pair(node.left, node.right)
    if (!sides) return null
    if (op === 'AND' || op === 'OR') return call(op.toLowerCase(), ...sides)
    if (op === '!=' && this.#compiled) return call('not', call('=', ...sides))
    const integers = integerOperators.get(op)
    return call(integers === undefined ? op : this.scope.copyTraps ? op : integers, ...sides)
  }

  /** Compiles `substring(text FROM start FOR length)`, for which the parser has its own kind of node. */
  #substring(node: SqlExpr & { type: 'substring' }): Expr | null {
    if (!this.#compiled) return this.#refuse('function', 'Write substring(text, start, length).', node)
    const parts = [node.value, node.from ?? null, node.for ?? null]
    const [value, from, length] = parts.map((part) => (part ? this.build(part) : undefined))
    if (!value || from === null || length === null) return null
    return call('substring', value, from ?? integer(1), ...(length ? [length] : []))
  }

  #in(node: ExprBinary): Expr | null {
    const negated = node.op === 'NOT IN'
    if (negated && !this.#compiled)
      return this.#refuse('operator', 'NOT IN is not supported here: write NOT x IN y.', node)
    const right = node.right
    const items = this.#listItems(right)
    if (!items && !negated && this.scope.scalarIn === false) {
      return this.#refuse('in-select', 'IN cannot be a column: only values of the source can be selected.', right)
    }
    let found: Expr | null
    if (items) {
      const left = this.build(node.left)
      const values = items.map((item) => this.build(item))
      found = left && (values.every((value) => value !== null) ? call('in list', left, ...values) : null)
    } else {
      this.warnUnlessArray(right)
      const sides = this.#pair(node.left, right)
      found = sides && call('in', ...sides)
    }
    return found && (negated ? call('not', found) : found)
  }

  /**
   * Reports a literal on the right of IN that can only fail: the parser reads `status IN ('open')` as `status IN
   * 'open'`.
   */
  warnUnlessArray(right: SqlExpr): void {
    const json = right.type === 'string' ? kindOfJson(right.value) : null
    const walks =
      right.type === 'string' ? json === 'array' || (this.#compiled && json === 'other') : !literals.has(right.type)
    if (walks) return
    this.sql.warning(
      'in-not-array',
      "The right side of IN must be a JSON array: write IN '[…]'. As it is, it fails for every row.",
      right,
    )
  }

  /** Compiles the items of ARRAY[…] or ROW(…), which only edition 3 has. */
  #listItems(node: SqlExpr): SqlExpr[] | null {
    if (!this.#compiled) return null
    if (node.type === 'array') return node.expressions
    return node.type === 'call' && node.function.name.toLowerCase() === 'row' && !node.function.schema
      ? node.args
      : null
  }

  #unary(node: ExprUnary): Expr | null {
    const op = node.op
    const truthTest = /^IS (NOT )?(TRUE|FALSE)$/.exec(op)
    if (truthTest || op === '+') {
      if (!this.#compiled) return this.#refuse('operator', `${op} is not supported here.`, node)
    } else if (op !== 'NOT' && op !== 'IS NULL' && op !== 'IS NOT NULL') {
      return this.#refuse(
        'operator',
        op === '-'
          ? 'Unary minus is only possible before a number: write 0 - x.'
          : `The operator ${op} is not supported.`,
        node,
      )
    }
    const operand = this.build(node.operand)
    if (!operand) return null
    if (truthTest) {
      const test = call('is', operand, integer(truthTest[2] === 'TRUE' ? 1 : 0))
      return truthTest[1] ? call('not', test) : test
    }
    if (op === 'NOT') return call('not', operand)
    if (op === 'IS NULL') return call('is null', operand)
    return op === '+' ? operand : call('not', call('is null', operand))
  }

  #call(node: ExprCall): Expr | null {
    if (node.over || node.filter || node.distinct || node.withinGroup || node.orderBy) {
      return this.#refuse('function', 'Aggregates and window functions are not supported.', node)
    }
    const name = node.function.name.toLowerCase()
    const fn = name === 'json_valid' && this.#compiled ? undefined : functions.get(name)
    if (!node.function.schema && (!fn || name.endsWith('_1'))) {
      const known = [...functions.keys()].filter(
        (each) => !each.endsWith('_1') && !(each === 'json_valid' && this.#compiled),
      )
      return this.#refuse(
        'function',
        CLOCK.has(name) ? noClock(`${name}()`) : `The function ${shorten(name)} does not exist.${hint(name, known)}`,
        this.#compiled ? node.function : node,
      )
    }
    const args = node.args.map((arg) => this.build(arg))
    if (!args.every((arg) => arg !== null)) return null
    if (node.function.schema) {
      const found = this.scope.schemaCall(node, args)
      if (found !== undefined) return this.#told(found, node)
      return this.#refuse(
        'function',
        `The function ${node.function.schema}.${name} does not exist here.`,
        this.#compiled ? node.function : node,
      )
    }
    if (!fn) return null
    const [least, most] = fn.arity
    if (this.#compiled && (args.length < least || args.length > most)) {
      return this.#refuse(
        'arity',
        `${name} takes ${least === most ? least : most === Infinity ? `${least} or more` : `${least} to ${most}`} arguments.`,
        node.function,
      )
    }
    const path = args[1]
    if (name === 'json_extract' && path?.[0] === 'text' && !path[1].startsWith('$'))
      return this.#refuse('json-path', `A path of json_extract begins with $: write '$.${shorten(path[1])}'.`, node)
    const padded = [...args]
    while (padded.length < least) padded.push(NULL)
    return call(name === 'json_extract' && !this.scope.fixedJson ? 'json_extract_1' : name, ...padded)
  }

  #cast(node: SqlExpr & { type: 'cast' }): Expr | null {
    const operand = this.build(node.operand)
    const to = node.to
    const name = 'name' in to ? to.name.toLowerCase() : ''
    if (!casts.has(name))
      return this.#refuse('cast', `Casts are possible to ${[...casts].join(', ')}.`, this.#compiled ? to : node)
    return operand && call(`cast ${name}`, operand)
  }

  #case(node: SqlExpr & { type: 'case' }): Expr | null {
    const operand = node.value ? [this.build(node.value)] : []
    const whens = node.whens.flatMap((when) => [this.build(when.when), this.build(when.value)])
    const otherwise = node.else ? this.build(node.else) : NULL
    const parts = [...operand, ...whens, otherwise]
    return parts.every((part) => part !== null) ? call(node.value ? 'case of' : 'case', ...parts) : null
  }

  #between(node: SqlExpr & { type: 'ternary' }): Expr | null {
    const parts = [node.value, node.lo, node.hi].map((part) => this.build(part))
    if (!parts.every((part) => part !== null)) return null
    const inside = call('between', ...parts)
    return node.op === 'NOT BETWEEN' ? call('not', inside) : inside
  }

  #digits(node: SqlExpr): bigint {
    const written = this.sql.slice(node).replace(/[\s+]/g, '')
    return /^-?\d+$/.test(written) ? BigInt(written) : node.type === 'integer' ? BigInt(node.value) : 0n
  }

  #refuse(code: FindingCode, message: string, node: Parameters<Sql['range']>[0]): null {
    this.sql.error(code, message, node)
    return null
  }
}

export { conjunction }
