import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { evaluateCase } from '../cases/case.ts'

const record = JSON.stringify({
  id: '1',
  n: null,
  i: 7,
  r: 2.5,
  w: 'W',
  e21: 'E21',
  t: 'abc',
  emoji: 'a😀b',
  d: '12',
  blob: { $blob: 'c3a9ff' },
  b1: { $blob: '31' },
  big: 'BIG',
  j: '{"a":{"b":1.50},"n":null,"arr":[1,2.0,true,null,"x",{"k":1}],"a.b":7,"s":"str","t":true}',
  arr: [1, 'TWO', true, null, 'x'],
  bad: '{nope',
  dup: '{"a":1,"a":2}',
  uuid: '550e8400-e29b-41d4-a716-446655440000',
  pt: '0101000000000000000000084000000000000000C0',
  ptz: '01010000A0E6100000000000000000F03F00000000000000400000000000000840',
})
  // Numbers whose spelling JavaScript would change.
  .replace('"W"', '3.0')
  .replace('"E21"', '1e21')
  .replace('"BIG"', '9007199254740993')
  .replace('"TWO"', '2.0')

const EDITIONS = {
  'bucket definitions of edition 1': (query: string) => `bucket_definitions:\n  b:\n    data: [${query}]\n`,
  'bucket definitions of edition 2': (query: string) =>
    `bucket_definitions:\n  b:\n    data: [${query}]\nconfig: {edition: 2}\n`,
  'compiled streams': (query: string) => `config: {edition: 3}\nstreams:\n  s:\n    query: ${query}\n`,
}

function valueOf(expression: string, yamlOf: (query: string) => string): string {
  const yaml = yamlOf(JSON.stringify(`SELECT id, ${expression} AS r FROM t`))
  const rows = `[{"table":"t","record":${record}}]`
  const text = evaluateCase(`{"yaml":${JSON.stringify(yaml)},"rows":${rows},"requests":[]}`, { copyTraps: false })
  const result: { valid: boolean; data?: { error?: string }[][] } = JSON.parse(text)
  if (!result.valid) return 'refused'
  if (result.data?.[0]?.[0]?.error !== undefined) return 'fails'
  // As text: 1 and 1.0 are not the same.
  return /"data":\{"id":"1"(?:,"r":(.*?))?\}\}\]\],"lookups"/.exec(text)?.[1] ?? 'absent'
}

const lines = readFileSync(new URL('./expressions.txt', import.meta.url), 'utf8')
  .split('\n')
  .filter((line) => line.includes(' ⇒ '))

test.each(lines)('%s', (line) => {
  const [expression = '', values = ''] = line.split(' ⇒ ')
  const [first = '', second = first, third = second] = values.split(' ¦ ')
  const wanted = values.split(' ¦ ').length === 2 ? [first, first, second] : [first, second, third]
  expect(Object.values(EDITIONS).map((yamlOf) => valueOf(expression, yamlOf))).toEqual(wanted)
})

test('the table is read as a whole', () => expect(lines.length).toBeGreaterThan(240))
