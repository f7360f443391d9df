import { expect, test } from 'vitest'
import { compileConfig } from '../compile.ts'
import { Lines } from './findings.ts'

const list = (item: string) => `bucket_definitions:\n  a:\n    data:\n      - ${item}\n`
const value = (scalar: string) => `config: {edition: 3}\nstreams:\n  s:\n    query: ${scalar}\n    priority: 1\n`

/** Every way to write a query over one or several lines; the mistake is `nope(x)`. */
const forms: [string, string][] = [
  ['plain', list('SELECT id, nope(x) AS y FROM t')],
  ['plain over lines', list('SELECT id,\n          nope(x) AS y\n\n          FROM t')],
  ['single quotes', list(`'SELECT ''a'' AS id, nope(x) AS y FROM t'`)],
  ['single quotes over lines', list(`'SELECT ''a'' AS id,\n\n        nope(x) AS y\n        FROM t'`)],
  ['double quotes', list('"SELECT \\"id\\", \'\\u00e9\\x41\\U0001F600\\t\' AS z, nope(x) AS y FROM t"')],
  ['double quotes over lines', list('"SELECT id, \\\n        nope(x) AS y\n        FROM t"')],
  ['literal', value('|\n      SELECT id,\n        nope(x) AS y\n      FROM t')],
  ['literal, stripped', value('|-\n      SELECT id,\n\n        nope(x) AS y\n      FROM t')],
  [
    'literal, kept, with an indentation indicator',
    value('|2+\n        SELECT id,\n          nope(x) AS y\n        FROM t\n\n'),
  ],
  ['literal, indentation indicator first', value('|-2\n      SELECT id, nope(x) AS y FROM t')],
  ['folded', value('>\n      SELECT id,\n      nope(x) AS y\n      FROM t')],
  [
    'folded with paragraphs and deeper lines',
    value('>-\n      SELECT id, a,\n\n\n      b,\n        c,\n      nope(x) AS y\n      FROM t'),
  ],
  ['literal with a comment of SQL', value('|\n      SELECT id -- a: b # c\n      , nope(x) AS y FROM t')],
  ['literal in a list', list('|\n        SELECT id,\n        nope(x) AS y FROM t')],
  ['plain with a comment behind', value('SELECT id, nope(x) AS y FROM t # why')],
  ['flow map', 'bucket_definitions: {a: {data: ["SELECT id, nope(x) AS y FROM t"]}}\n'],
  ['anchor and tag', list('&anchor !!str SELECT id, nope(x) AS y FROM t')],
  ['anchor before a block', value('&anchor |\n      SELECT id,\n      nope(x) AS y FROM t')],
  ['characters of two units before it', list(`"SELECT '😀é' AS id, nope(x) AS y FROM t"`)],
]
const wraps: [string, (yaml: string) => string][] = [
  ['LF', (yaml) => yaml],
  ['CRLF', (yaml) => yaml.replaceAll('\n', '\r\n')],
  ['a byte order mark', (yaml) => `\ufeff${yaml}`],
]

test.each(
  forms.flatMap(([name, yaml]) => wraps.map(([wrap, make]): [string, string, string] => [name, wrap, make(yaml)])),
)('the place of a mistake is that of its characters: %s, %s', (_, __, yaml) => {
  const result = compileConfig(yaml)
  const found = result.ok ? [] : result.errors
  const lines = new Lines(yaml)
  const at = found.map(({ place, end }) => yaml.slice(lines.offset(place), end && lines.offset(end)))
  expect(found.map(({ code }) => code)).toEqual(['function'])
  expect(['nope(x)', 'nope']).toContain(at[0])
})
