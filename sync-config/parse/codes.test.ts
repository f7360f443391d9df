import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { FINDING_CODES } from './codes.ts'

test('docs/sync-config-codes.md lists every code with its meaning, and no other', () => {
  const text = readFileSync(new URL('../../docs/sync-config-codes.md', import.meta.url), 'utf8')
  const listed = [...text.matchAll(/^\| `([^`]+)` +\| (.*?) +\|$/gm)].map(
    ([, code = '', meaning = '']): [string, string] => [code, meaning],
  )
  expect(listed).toEqual(Object.entries(FINDING_CODES))
})
