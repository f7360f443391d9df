import { describe, expect, test } from 'vitest'
import { compileConfig } from './compile.ts'
import type { SourceSchema } from './schema.ts'
import { definition, stream } from './test-evaluate.ts'

/** Clients are sent no bytes: a query that would give them some is told what to write instead. */

const bytes = { name: 'bytea', kind: 'bytes' } as const
const schema: SourceSchema = {
  tables: [
    { schema: 'public', name: 'files', columns: ['id', 'name', 'photo', '_raw'], types: { photo: bytes, _raw: bytes } },
  ],
}
const told = (yaml: string): string[] => {
  const { warnings } = compileConfig(yaml, { schema })
  return warnings.filter(({ code }) => code === 'bytes-left-out').map(({ message }) => message)
}
const message = (column: string, name = column) =>
  `files.${column} (bytea) is left out, because clients are sent no bytes: write hex(${column}) AS ${name}, or base64(…).`

describe.each([
  ['bucket definitions', (query: string) => definition(null, query), false],
  ['streams of edition 2', (query: string) => stream(query, 2), false],
  ['streams', (query: string) => stream(query), true],
])('%s', (_, config, hidden) => {
  test.each([
    ['SELECT id, photo FROM files', [message('photo')]],
    ['SELECT id, photo AS image FROM files', [message('photo', 'image')]],
    ['SELECT * FROM files', [message('photo'), ...(hidden ? [message('_raw')] : [])]],
    ['SELECT *, hex(photo) AS photo, base64(_raw) AS _raw FROM files', []],
    // Here * replaces what stands before it.
    ['SELECT hex(photo) AS photo, hex(_raw) AS _raw, * FROM files', hidden ? [message('photo'), message('_raw')] : []],
    ['SELECT id, name, length(photo) AS size FROM files', []],
    ["SELECT id, name FROM files WHERE hex(photo) = 'ff'", []],
  ])('%s', (query, expected) => {
    expect(told(config(query))).toEqual(expected)
  })
})

test('also behind a CTE, at the place; without a database nothing is known', () => {
  const yaml = `config: {edition: 3}\nwith:\n  mine: SELECT id, photo FROM files\nstreams:\n  s: {query: SELECT * FROM mine}\n`
  expect(told(yaml)).toEqual([message('photo')])
  const { warnings } = compileConfig('config: {edition: 3}\nstreams:\n  s:\n    query: SELECT id, photo FROM files\n', {
    schema,
  })
  expect(warnings.map(({ code, place }) => [code, place.line, place.column])).toEqual([['bytes-left-out', 4, 23]])
  expect(compileConfig(stream('SELECT id, photo FROM files')).warnings).toEqual([])
})
