import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'

test('every error code is described, and no other', async () => {
  const declared = [
    ...(await readFile(new URL('../protocol/errors.ts', import.meta.url), 'utf8')).matchAll(/\| '([A-Z0-9_]+)'/g),
  ].map((match) => match[1])
  const described = [
    ...(await readFile(new URL('./errors.md', import.meta.url), 'utf8')).matchAll(/^\| `([A-Z0-9_]+)`/gm),
  ].map((match) => match[1])
  expect(declared.length).toBeGreaterThan(20)
  expect(described.sort()).toEqual(declared.sort())
})
