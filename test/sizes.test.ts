import { globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const LINES = 300
const OTHERS = /(^|\/)(node_modules|dist|fixtures|\.rockpool)(\/|$)/

test(`a file of more than ${LINES} lines says why it is long`, () => {
  const files = globSync('**/*.{ts,tsx,mjs}', { cwd: ROOT, exclude: (path) => OTHERS.test(path) })
  const long = files.flatMap((file) => {
    const text = readFileSync(`${ROOT}${file}`, 'utf8')
    return text.split('\n').length > LINES + 1 ? [{ file, text }] : []
  })
  expect(long.length).toBeGreaterThan(10)
  expect(
    long.flatMap(({ file, text }) => (/\bfile is long\b|\bone file,? because\b/.test(text) ? [] : [file])),
  ).toEqual([])
})
