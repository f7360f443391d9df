import type { Exception } from './test-null-conditions.ts'

/**
 * Where a row comes that SQL, with its three values, would not give. Each is meant, and told in docs/sync-config.md.
 */
export const EXCEPTIONS: readonly { name: Exception; reason: string }[] = [
  {
    name: 'not of NULL',
    reason:
      'NOT has two values, as everywhere in this language: NOT of a comparison with NULL holds. != and NOT IN of edition 3 are written as NOT.',
  },
  {
    name: 'null in a list',
    reason:
      'A null in a list is equal to nothing, so that it does not keep NOT from holding for what is not in the list.',
  },
  {
    name: 'NOT IN no list',
    reason:
      '`x NOT IN list` of edition 3 holds when the list is NULL: configs count on it, and `negated-request` warns of it.',
  },
  {
    name: 'NOT over IN no list',
    reason:
      'NOT (x IN list) holds in bucket definitions and in edition 2 when the list is NULL, for the same reason and with the same warning.',
  },
  {
    name: 'found NULL',
    reason:
      'A NULL that a query finds in a table may match a NULL of the row: a column in edition 2, an element of an array there and in bucket definitions. No client decides it, and `null-matches-null` warns of it.',
  },
]
