import { expect, test } from 'vitest'
import { runScript } from '../../test/support/command.ts'
import { QUESTIONS } from './questions.ts'

const probe = (...args: string[]) => runScript('bench/probe/run.ts', ...args)

test('every question has an answer, in workerd as well', async () => {
  const { code, output } = await probe('--quick')
  expect([code, output.match(/^.*failed: .*$/m)], output).toEqual([0, null])
  const answers = QUESTIONS.map(
    ({ name, question }) => output.split('\n').find((line) => line.startsWith(name) && line.includes(question)) ?? name,
  )
  const [calls, memory, cpu, update, writes, alarm] = answers
  expect(calls).toMatch(/side by side: 12 calls of 100 ms took \d+ ms$/)
  expect(memory).toMatch(/no, not up to 8 MB$/)
  expect(cpu).toMatch(/(not reached|no limit): 5 messages of about [\d.]+ ms each/)
  expect(update).toMatch(/not asked/)
  expect(writes).toMatch(/a call that writes has a median of [\d.]+ ms/)
  expect(alarm).toMatch(/200 calls$/)
})

test('options that are wrong are told, and nothing is started', async () => {
  for (const [args, reason] of [
    [['--url', 'nowhere', '--token', 't'], 'is no address'],
    [['--url', 'http://127.0.0.1:9'], 'go together'],
    [['--deploy'], 'needs --url'],
    [['--wrong'], '--wrong'],
  ] as const) {
    const { code, output } = await probe(...args)
    expect([code, output]).toEqual([2, expect.stringContaining(reason)])
  }
})

test('a Worker that cannot be reached is told for each question, and the exit code is 1', async () => {
  const { code, output } = await probe('--url', 'http://127.0.0.1:9', '--token', 't')
  expect(code).toBe(1)
  expect(output.match(/failed: /g)).toHaveLength(QUESTIONS.length - 1)
})
