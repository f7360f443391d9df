import { call, canonical, some, type Expr } from '../../expressions/expression.ts'
import type { StreamText } from '../../parse/config.ts'
import type { Sql, SqlExpr } from '../../parse/sql.ts'
import { usesElements, usesRequest, usesRow } from './scope.ts'

/** Warnings that several dialects share. All of them are about access. */

export function warnClientDecides(sql: Sql, node: Parameters<Sql['warning']>[2]): void {
  sql.warning(
    'dangerous-parameter',
    'Clients can send any value here, so anybody can have these rows. Compare a value of the token too, or set accept_potentially_dangerous_queries: true.',
    node,
  )
}

/**
 * In bucket definitions and in edition 2 a NULL of the row is equal to a NULL among the values that it is compared with, other than in
 * SQL: rows without an owner go to users whose list of owners has a NULL in it. Not told when a filter excludes them.
 */
export function warnNullMatchesNull(sql: Sql, row: Expr, filters: readonly Expr[], node: SqlExpr): void {
  const excluded = canonical(call('not', call('is null', row)))
  if (filters.some((filter) => some(filter, (part) => canonical(part) === excluded))) return
  sql.warning(
    'null-matches-null',
    'Here NULL equals NULL: rows in which this is NULL go to everybody who has a NULL among these values. Add … IS NOT NULL, or use edition 3.',
    node,
  )
}

const negations = new Set(['not', 'not in', 'not(in)'])

/** Whether a part of the condition says only what the request must not be. `NOT (x IS NULL)` says that it must be something. */
const excludes = (expr: Expr): boolean =>
  some(expr, (part) => {
    if (part[0] !== 'call' || !negations.has(part[1])) return false
    const [of] = part[2]
    return usesRequest(part) && !usesRow(part) && !usesElements(part) && !(of?.[0] === 'call' && of[1] === 'is null')
  })

/** Told of a condition over the request alone that is negated: what is missing passes it. */
export function warnNegatedRequest(sql: Sql, expr: Expr, node: Parameters<Sql['warning']>[2]): void {
  if (!excludes(expr)) return
  sql.warning(
    'negated-request',
    'This only says what a client must not be, so who lacks the value has the rows too. Compare with a value that must be there, or set accept_potentially_dangerous_queries: true if it is meant.',
    node,
  )
}

/** The default evaluation of a stream has no subscription, so its parameters are NULL there. */
export function warnDefaultWithoutParameters(
  sql: Sql,
  stream: StreamText,
  exprs: readonly Expr[],
  node: Parameters<Sql['warning']>[2],
): void {
  if (!stream.autoSubscribe || !exprs.some((expr) => some(expr, (part) => part[0] === 'request' && part[1] === 'subscription'))) return
  sql.warning(
    'auto-subscribe-parameters',
    'This stream is subscribed to by itself, and then subscription parameters are NULL. Remove auto_subscribe, or the parameters.',
    node,
  )
}
