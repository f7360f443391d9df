import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { run } from './eval.ts'

const directory = mkdtempSync(join(tmpdir(), 'rockpool-eval-'))
afterAll(() => rmSync(directory, { recursive: true }))
const cases = fileURLToPath(new URL('../sync-config/fixtures/cases', import.meta.url))

function file(name: string, text: string): string {
  const path = join(directory, name)
  writeFileSync(path, text)
  return path
}
async function evaluate(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', '']
  const code = await run(args, { out: (text) => (out += text), err: (text) => (err += text) })
  return { code, out, err }
}
const good = file(
  'good.json',
  JSON.stringify({ yaml: 'bucket_definitions: {a: {data: [SELECT id FROM t]}}', rows: [], requests: [] }),
)

test('a case that cannot be evaluated is reported and stops no other', async () => {
  const bad = [
    file('no-json.json', '{'),
    file('no-case.json', '[]'),
    file('no-text.json', '{"yaml": 5}'),
    join(directory, 'none.json'),
    file('deep.json', `{"yaml": "a", "rows": ${'['.repeat(100_000)}${']'.repeat(100_000)}}`),
  ]
  const { code, out, err } = await evaluate(...bad, good)
  expect(code).toBe(1)
  expect(
    err
      .trim()
      .split('\n')
      .map((line) => line.split(':')[0]),
  ).toEqual(bad)
  expect(out.trim().split('\n')).toHaveLength(1)
  expect(JSON.parse(out)).toMatchObject({ valid: true })
})

test('all cases of a folder in one process, a file for each', async () => {
  const out = join(directory, 'out')
  expect(await evaluate(cases, good, '--out', out)).toEqual({ code: 0, out: '', err: '' })
  expect(readdirSync(out).sort()).toEqual([...readdirSync(cases), 'good.json'].sort())
  expect(JSON.parse(readFileSync(join(out, 'good.json'), 'utf8'))).toMatchObject({ valid: true, data: [], buckets: [] })
})

test('wrong calls', async () => {
  expect(await evaluate()).toMatchObject({ code: 2, err: expect.stringContaining('usage:') })
  expect((await evaluate('--nope', good)).code).toBe(2)
  expect((await evaluate(good, '--out')).code).toBe(2)
  expect((await evaluate(good, '--out', good)).code).toBe(2)
  expect((await evaluate(directory.replace('eval-', 'none-'))).code).toBe(1)
})
