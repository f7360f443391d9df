import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { check, explain } from './check.ts'
import { frame } from './frame.ts'

const directory = mkdtempSync(join(tmpdir(), 'rockpool-cli-'))
// Nobody's `rockpool dev` is asked.
process.env.DATA = join(directory, 'data')
afterAll(() => rmSync(directory, { recursive: true }))

function file(content: string | Uint8Array, name = 'config.yaml'): string {
  const path = join(directory, name)
  writeFileSync(path, content)
  return path
}
const right = 'bucket_definitions:\n  a:\n    data:\n      - SELECT id FROM t\n'
const stream = (query: string) => `config: {edition: 3}\nstreams:\n  a:\n    query: ${query}\n`

describe('a file that is no sync config', () => {
  test.each([
    ['no file', join(directory, 'none.yaml'), /^there is no file .*none\.yaml$/],
    ['a folder', directory, /is a folder/],
    [
      'bytes',
      file(
        Uint8Array.from({ length: 300 }, (_, i) => (i * 7) % 256),
        'bytes',
      ),
      /is not UTF-8 text/,
    ],
    ['UTF-16', file(Buffer.from(right, 'utf16le'), 'utf16'), /is not UTF-8 text/],
    ['many megabytes', file('x'.repeat(9 * 1024 * 1024), 'large'), /has 9 MB/],
  ])('%s', async (_, path, message) => {
    await expect(check([path], false)).rejects.toThrow(message)
    await expect(explain([path], false)).rejects.toThrow(message)
  })

  test.each([
    ['nothing', '', 'yaml-not-a-map: The file is empty', '1:1'],
    ['a comment', '# soon\n', 'yaml-not-a-map: The file is empty', '1:1'],
    ['a text', 'hello', 'yaml-not-a-map', '1:1'],
    ['no YAML', 'a: [\n', 'yaml-syntax', '2:1'],
    ['tabs', 'streams:\n\ta: 1\n', 'yaml-syntax', '2:1'],
    ['more than a million characters', `a: ${'x'.repeat(1_000_001)}`, 'file-too-long', '1:1000001'],
  ])('%s', async (_, text, code, place) => {
    const path = file(text)
    const { output, ok } = await check([path], false)
    expect(ok).toBe(false)
    expect(output).toContain(`error ${code}`)
    expect(output).toContain(`${path}:${place}\n`)
    expect(Math.max(...output.split('\n').map((line) => line.length))).toBeLessThan(250)
  })
})

describe('typos', () => {
  test.each([
    ['a section', right.replace('definitions', 'definitons'), 'Did you mean bucket_definitions?', 1],
    ['a key of a definition', right.replace('data:', 'dta:'), 'Did you mean data?', 2],
    ['a key of a stream', stream('SELECT id FROM t').replace('query:', 'qurey:'), 'Did you mean query?', 1],
    ['an option', `${right}config: {editon: 2}\n`, 'Did you mean edition?', 1],
    ['a function', stream('SELECT id, uper(x) AS x FROM t'), 'Did you mean upper?', 1],
    ['a function of another database', stream('SELECT id, coalesce(x, 1) AS x FROM t'), 'Write ifnull(a, b).', 1],
  ])('%s', async (_, text, advice, errors) => {
    const { output } = await check([file(text)], false)
    expect(output).toContain(advice)
    expect(output).toMatch(new RegExp(`${errors} errors?, `))
  })
})

test('without a database it is said that none was asked, and how to have one asked', async () => {
  const { output, ok } = await check([file(right)], false)
  expect(ok).toBe(true)
  expect(output).toMatch(
    /\n0 errors, 1 warning\n\nno database was asked, .*tables and columns.*--database-url .*rockpool dev in this folder$/,
  )
})

test('findings are in the order of the file', async () => {
  const path = file('bucket_definitions:\n  a:\n    data:\n      - SELECT nope(id) AS id FROM t\n    zzz: 1\nfoo: 2\n')
  const { findings }: { findings: { place: { line: number } }[] } = JSON.parse(
    (await check([path, '--json'], false)).output,
  )
  expect(findings.map(({ place }) => place.line)).toEqual([4, 5, 6])
})

test('the JSON form has fixed keys', async () => {
  const location = { level: 'warning', code: 'location', message: expect.stringMatching(/^LOCATION is not set/) }
  expect(JSON.parse((await check([file(right), '--json'], true)).output)).toEqual({
    ok: true,
    findings: [],
    settings: [location],
    source: null,
  })
  expect(JSON.parse((await check([file(right.replace('SELECT id', 'SELECT x')), '--json'], true)).output)).toEqual({
    ok: false,
    findings: [
      {
        level: 'error',
        code: 'id-missing',
        message: expect.any(String),
        place: { line: 4, column: 16 },
        end: { line: 4, column: 17 },
      },
    ],
    settings: [location],
    source: null,
  })
  expect(JSON.parse((await explain([file(right), '--json'], true)).output)).toMatchObject({ version: 1, edition: 1 })
})

test('the marker is under its words, after tabs and in long lines, and control characters cannot reach the terminal', () => {
  const at = (line: string, word: string) => {
    const column = line.indexOf(word) + 1
    const finding = {
      level: 'error',
      code: 'c',
      message: 'm',
      place: { line: 1, column },
      end: { line: 1, column: column + word.length },
    } as const
    return frame('f', line, finding, (_, text) => text)
      .split('\n')
      .slice(2)
  }
  expect(at('\tab nope', 'nope')).toEqual(['1 | \tab nope', '  | \t   ^^^^'])
  expect(at('a\u001b[31m nope', 'nope')[0]).toBe('1 | a\ufffd[31m nope')
  const [line = '', mark = ''] = at(`${'x'.repeat(5_000)}nope${'y'.repeat(5_000)}`, 'nope')
  expect(line.slice(mark.indexOf('^'), mark.lastIndexOf('^') + 1)).toBe('nope')
  expect(line.length).toBeLessThan(180)
})

// Each is a process that reads wrangler as well: a second of computing, and many on a machine that does other things.
describe('the command', { timeout: 180_000 }, () => {
  const rockpool = (args: string[], env: Record<string, string> = {}) => {
    const main = fileURLToPath(new URL('./rockpool.mjs', import.meta.url))
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
      encoding: 'utf8',
      env: { ...process.env, ...env },
    })
    return { status, stdout, stderr }
  }
  test('exits with 0 for a right file, 1 for one with errors, 2 for a wrong call, and has no colours in a pipe', () => {
    expect(rockpool(['check', file(right)])).toMatchObject({ status: 0, stderr: '' })
    const wrong = rockpool(['check', file(stream('SELECT nope(x) FROM t'), 'wrong.yaml')])
    expect(wrong).toMatchObject({ status: 1, stderr: '' })
    expect(wrong.stdout).not.toContain('\u001b')
    expect(rockpool(['check']).status).toBe(2)
    expect(rockpool(['check', join(directory, 'none.yaml')])).toMatchObject({ status: 2, stdout: '' })
    expect(rockpool(['chek', 'x']).stderr).toContain('did you mean check?')
    expect(rockpool(['check', '--help'])).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('rockpool check FILE'),
    })
  })
  test('takes the limits from the environment', () => {
    const path = file(
      stream(
        'SELECT id FROM t WHERE (a = auth.user_id() OR b = auth.user_id()) AND (c = auth.user_id() OR d = auth.user_id())',
      ),
      'ors.yaml',
    )
    expect(rockpool(['check', path]).status).toBe(0)
    expect(rockpool(['check', path], { MAX_DISJUNCTS: '3' })).toMatchObject({
      status: 1,
      stdout: expect.stringContaining('too-many-disjuncts'),
    })
    expect(rockpool(['check', path], { MAX_DISJUNCTS: 'x' })).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('MAX_DISJUNCTS'),
    })
  })
})
