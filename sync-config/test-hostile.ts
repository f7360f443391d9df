/**
 * Values of requests and of rows that are easily read wrongly, for the tests that compare what a client has with what
 * its condition means.
 */

/** How a value of the request is seen: as JSON text, or by itself with booleans as numbers. */
export type View = 'text' | 'value'
export type Plain = unknown

export const HOSTILE: Plain[] = [undefined, null, true, false, 0, 1, 1.5, -0, Number.POSITIVE_INFINITY, Number.NaN, '', 'a', 'null', 'true', '1', '[null]', '[null', '["a"]', '[true]', '[1,', '{"k":null}', '{"k":"a"}', '"a"', '1]', [], [null], ['a'], ['a', null], [true], [false, 1], [[null]], [['a'], 'a'], [{}], [1, 1.5], { k: null }, { k: 'a' }, ['a', 'a', null], [''], ['null'], [Number.POSITIVE_INFINITY]] // prettier-ignore
export const SCALARS: Plain[] = [
  undefined,
  null,
  1n,
  0n,
  1.5,
  Number.NaN,
  '',
  'a',
  'null',
  'true',
  '[null]',
  '["a"]',
  '{}',
]
export const ARRAYS: Plain[] = [null, '[]', '[null]', '["a",null]', '[true]', '[false]', '[1]', '[0,1.5]', '[[null]]', '[["a"]]', '[{}]', '{"k":"a"}', '{"k":null}', '"a"', 'null', '[1', 'a', '["","null"]'] // prettier-ignore

/**
 * The value that an expression has: NULL, a number, or text. Objects are JSON text; in it a number that JSON has no
 * name for is null.
 */
export function scalar(value: Plain, view: View): Plain {
  if (value === undefined || value === null) return null
  if (typeof value === 'object') return JSON.stringify(value)
  return typeof value === 'number' && !Number.isFinite(value) && view === 'text' ? null : value
}
