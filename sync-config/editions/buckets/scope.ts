import type { ExprCall, ExprRef } from 'pgsql-ast-parser'
import type { Dialect, Scope } from '../../expressions/build.ts'
import { call, some, type Expr } from '../../expressions/expression.ts'
import type { FindingCode } from '../../parse/codes.ts'
import type { Sql } from '../../parse/sql.ts'

/** The meaning of names in queries of bucket definitions and of streams of edition 2. */
export interface Names {
  dialect: Dialect
  fixedJson: boolean
  /** The name that qualifies the row's columns, or null when there is no row. */
  table: string | null
  wildcard: boolean
  /** The name of the json_each whose `key` and `value` can be used. */
  elements: string | null
  /** Whether request values may be used. */
  request: boolean
}

export function scopeOf(sql: Sql, names: Names): Scope {
  const refuse = (code: FindingCode, message: string, node: Parameters<Sql['error']>[2]): null => {
    sql.error(code, message, node)
    return null
  }
  const column = (ref: ExprRef): Expr | null => {
    warnLowerCase(sql, ref)
    const table = ref.table
    if (ref.name === '*') return refuse('star', '* is not possible here.', ref)
    if (table?.schema)
      return refuse('column-schema', 'Write table.column: a schema is not possible in a column reference.', ref)
    if (names.dialect === 'legacy' && (table?.name === 'token_parameters' || table?.name === 'user_parameters')) {
      if (!names.request)
        return refuse(
          'request-in-data',
          `${table.name} is not available in data queries: use a parameter query and bucket.x.`,
          ref,
        )
      if (table.name === 'user_parameters') return ['member', 'connection', ref.name]
      return ref.name === 'user_id' ? ['request', 'token_sub'] : ['member', 'token', ref.name]
    }
    if (table?.name === 'bucket' && names.dialect === 'legacy' && names.table !== 'bucket') {
      return refuse(
        'bucket-parameter',
        'Bucket parameters can only be compared with = or be on the left of IN, in WHERE of data queries.',
        ref,
      )
    }
    if (names.elements !== null && (table === undefined || table.name === names.elements)) {
      return ['each', 0, ref.name === 'key' ? 'key' : ref.name === 'value' ? 'value' : 'other']
    }
    if (names.table !== null && (table === undefined || table.name === names.table)) {
      return ref.name === '_table_suffix' && names.wildcard ? ['meta', 'suffix'] : ['column', ref.name]
    }
    return refuse('unknown-reference', `'${table ? `${table.name}.` : ''}${ref.name}' is not known here.`, ref)
  }
  const schemaCall = (node: ExprCall, args: readonly Expr[]): Expr | null | undefined => {
    const found =
      names.dialect === 'legacy' ? legacyRequest(node, args, names.fixedJson) : streamRequest(node, args, names)
    if (found === undefined) return undefined
    if (!names.request)
      return refuse(
        'request-in-data',
        `${node.function.schema} functions are not available in data queries: use a parameter query and bucket.x.`,
        node,
      )
    if (found === null)
      return refuse('arity', `${node.function.schema}.${node.function.name}: wrong number of arguments.`, node)
    return found
  }
  return { dialect: names.dialect, fixedJson: names.fixedJson, copyTraps: false, column, schemaCall }
}

const parts = { auth: 'jwt', connection: 'connection', subscription: 'subscription' } as const

function legacyRequest(node: ExprCall, args: readonly Expr[], fixedJson: boolean): Expr | null | undefined {
  if (node.function.schema !== 'request') return undefined
  switch (node.function.name.toLowerCase()) {
    case 'user_id':
      return ['request', 'sub']
    case 'jwt':
      return ['request', 'jwt']
    case 'parameters':
      return ['request', 'connection']
    case 'parameter':
      return parameter('connection', args, fixedJson, true)
    default:
      return undefined
  }
}

/**
 * Compiles `auth.…`, `connection.…`, `subscription.…`. Returns undefined when there is no such function, null when its
 * arguments are wrong.
 */
export function streamRequest(
  node: ExprCall,
  args: readonly Expr[],
  names: { dialect: Dialect; fixedJson: boolean },
): Expr | null | undefined {
  const schema = node.function.schema
  if (schema !== 'auth' && schema !== 'connection' && schema !== 'subscription') return undefined
  switch (node.function.name.toLowerCase()) {
    case 'user_id':
      return schema === 'auth' ? (args.length === 0 ? ['request', 'sub'] : null) : undefined
    case 'parameters':
      return args.length === 0 ? ['request', parts[schema]] : null
    case 'parameter':
      return parameter(parts[schema], args, names.fixedJson, names.dialect === 'alpha' && schema === 'connection')
    default:
      return undefined
  }
}

/**
 * With `valueView`, reads a top-level member in the value view, as bucket definitions and edition 2 read client
 * parameters.
 */
function parameter(
  of: 'jwt' | 'connection' | 'subscription',
  args: readonly Expr[],
  fixedJson: boolean,
  valueView: boolean,
): Expr | null {
  const [key] = args
  if (!key || args.length !== 1) return null
  if (valueView) return usesRow(key) ? null : ['member', 'connection', key[0] === 'text' ? key[1] : key]
  return call(fixedJson ? '->>' : '->>_1', ['request', of], key)
}

/** Warns when folding an unquoted identifier to lower case has changed it. */
export function warnLowerCase(sql: Sql, node: { name: string; _location?: { start: number; end: number } }): void {
  const written = sql.slice(node).split('.').pop()?.trim() ?? ''
  if (/^[A-Za-z_]\w*$/.test(written) && written !== node.name && written.toLowerCase() === node.name) {
    sql.warning(
      'lower-cased',
      `Unquoted identifiers are read in lower case. Write "${written}" if the upper case is meant.`,
      node,
    )
  }
}

export const usesRow = (expr: Expr): boolean => some(expr, (part) => part[0] === 'column' || part[0] === 'meta')
export const usesRequest = (expr: Expr): boolean => some(expr, (part) => part[0] === 'request' || part[0] === 'member')
export const usesElements = (expr: Expr): boolean => some(expr, (part) => part[0] === 'each')
/** Client and subscription parameters, which the client chooses. */
export const usesClient = (expr: Expr): boolean =>
  some(
    expr,
    (part) =>
      (part[0] === 'request' && (part[1] === 'connection' || part[1] === 'subscription')) ||
      (part[0] === 'member' && part[1] === 'connection'),
  )
/** Values of the verified token. */
export const usesToken = (expr: Expr): boolean =>
  some(
    expr,
    (part) =>
      (part[0] === 'request' && (part[1] === 'sub' || part[1] === 'jwt' || part[1] === 'token_sub')) ||
      (part[0] === 'member' && part[1] === 'token'),
  )
