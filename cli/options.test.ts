import { expect, test } from 'vitest'
import { devOptions, tokenOptions } from './options.ts'

test('the example creates no tables in a foreign database unless it is asked to', () => {
  const url = ['--database-url', 'postgres://me@db.example/app']
  const example = (args: string[], env: Record<string, string> = {}) => devOptions(args, env).example
  expect(example([])).toBe(true)
  expect(example(['--no-example'])).toBe(false)
  expect(example([], { NO_EXAMPLE: '1' })).toBe(false)
  expect(example(url)).toBe(false)
  expect(example([], { DATABASE_URL: url[1] ?? '' })).toBe(false)
  expect(example([...url, '--example'])).toBe(true)
  expect(example(url, { EXAMPLE: 'true' })).toBe(true)
  expect(example([...url, '--example', '--no-example'])).toBe(false)
})

test('an option that does not exist, and the one that was meant', () => {
  expect(() => devOptions(['--nonsense'], {})).toThrow(/^there is no option --nonsense; see rockpool help dev$/)
  expect(() => devOptions(['--databse-url', 'x'], {})).toThrow(
    /^there is no option --databse-url: did you mean --database-url\?$/,
  )
  expect(() => tokenOptions(['--sbu', 'x'])).toThrow(/did you mean --sub\?/)
})

test('an option goes before the setting of its name, which may stand in [vars] as something else than text', () => {
  expect(devOptions(['--jwt-audience', 'a'], { JWT_AUDIENCE: 'b', PORT: 9_000 })).toMatchObject({
    jwtAudience: 'a',
    port: 9_000,
  })
  expect(devOptions([], { JWT_AUDIENCE: 'b' }).jwtAudience).toBe('b')
  expect(devOptions([], { JWT_AUDIENCE: '' }).jwtAudience).toBe('rockpool')
  expect(() => devOptions([], { SYNC_CONFIG: 'streams:\n  a: b' })).toThrow(/--sync-config FILE/)
})
