import { expect, test } from 'vitest'
import { devOptions } from './options.ts'

test('the example makes no tables in a database of somebody, unless it is asked for', () => {
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
