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
 * In bucket definitions and in edition 2 a NULL of the row equals a NULL among the values that it is compared with,
 * unlike in SQL: rows without an owner go to users whose list of owners contains a NULL. No warning when a filter
 * excludes such rows.
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

/**
 * Returns whether a part of the condition says only what the request must not be. `NOT (x IS NULL)` says that there
 * must be a value.
 */
const excludes = (expr: Expr): boolean =>
  some(expr, (part) => {
    if (part[0] !== 'call' || !negations.has(part[1])) return false
    const [of] = part[2]
    return usesRequest(part) && !usesRow(part) && !usesElements(part) && !(of?.[0] === 'call' && of[1] === 'is null')
  })

/** Warns about a negated condition that reads only the request: a missing value passes it. */
export function warnNegatedRequest(sql: Sql, expr: Expr, node: Parameters<Sql['warning']>[2]): void {
  if (!excludes(expr)) return
  sql.warning(
    'negated-request',
    'This only says what a client must not be, so who lacks the value has the rows too. Compare with a value that must be there, or set accept_potentially_dangerous_queries: true if it is meant.',
    node,
  )
}

/**
 * Warns about parameters of a subscription in a default stream: its default evaluation has no subscription, so they are
 * NULL.
 */
export function warnDefaultWithoutParameters(
  sql: Sql,
  stream: StreamText,
  exprs: readonly Expr[],
  node: Parameters<Sql['warning']>[2],
): void {
  if (
    !stream.autoSubscribe ||
    !exprs.some((expr) => some(expr, (part) => part[0] === 'request' && part[1] === 'subscription'))
  )
    return
  sql.warning(
    'auto-subscribe-parameters',
    'This stream is subscribed to by itself, and then subscription parameters are NULL. Remove auto_subscribe, or the parameters.',
    node,
  )
}
