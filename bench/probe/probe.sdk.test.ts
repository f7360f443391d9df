import { createServer, type AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { runScript } from '../../test/support/command.ts'
import { startPostgres } from '../../test/support/postgres.ts'
import { QUESTIONS } from './questions.ts'

const probe = (...args: string[]) => runScript('bench/probe/run.ts', ...args)

test('every question has an answer, in workerd as well', async () => {
  const six = createServer()
  const port = await new Promise<number>((resolve) =>
    six.listen(0, '::1', () => resolve((six.address() as AddressInfo).port)),
  )
  const postgres = await startPostgres()
  const { code, output } = await probe('--quick', '--source', `127.0.0.1:${postgres.port}`, '--ipv6', `[::1]:${port}`)
  await postgres.stop()
  six.close()
  expect([code, output.match(/^.*failed: .*$/m)], output).toEqual([0, null])
  const answerTo = (text: string) => output.split('\n').find((line) => line.includes(text)) ?? text
  for (const { question } of QUESTIONS) expect(output).toContain(question)
  expect(answerTo('Do calls of objects')).toMatch(/side by side: 12 calls of 100 ms took \d+ ms$/)
  expect(answerTo('count as memory')).toMatch(/no, not up to 8 MB$/)
  expect(answerTo('budget of a Worker')).toMatch(/(not reached|no limit): 5 messages of about [\d.]+ ms each/)
  expect(answerTo('deferred update')).toMatch(/not asked/)
  expect(answerTo('confirmed write')).toMatch(/a call that writes has a median of [\d.]+ ms/)
  expect(answerTo('share isolates')).toMatch(/yes: 6 objects are in 1 isolates, of 6$/)
  expect(answerTo('subrequests')).toMatch(/200 calls with three sockets$/)
  expect(answerTo('calls of an alarm queue')).toMatch(
    /side by side: 12 calls of 100 ms took \d+ ms with three sockets$/,
  )
  expect(answerTo('budget of an alarm')).toMatch(
    /(not reached|no limit): of 5 pieces .* did all 5 alone, and all 5 while its object was called/,
  )
  expect(answerTo('storage.sync()')).toMatch(
    /median of [\d.]+ ms; an answer over TCP one of [\d.]+ ms, and of [\d.]+ ms behind a write/,
  )
  expect(answerTo('X25519')).toMatch(/ yes$/)
  expect(answerTo('PBKDF2')).toMatch(/600,000: there is no limit below that$/)
  expect(answerTo('decrypt')).toMatch(/[\d.]+ µs for 320 bytes, [\d.]+ µs for 16384 bytes \(n 200\)$/)
  expect(answerTo('IPv6')).toMatch(/yes, in [\d.]+ ms$/)
})

test('options that are wrong are told, and nothing is started', async () => {
  for (const [args, reason] of [
    [['--url', 'nowhere', '--token', 't'], '--url nowhere is not a URL'],
    [['--url', 'http://127.0.0.1:9'], 'go together'],
    [['--deploy'], 'needs --url'],
    [['--source', 'db.example.com'], '--source db.example.com is no HOST:PORT'],
    [['--ipv6', '::1:5432'], 'is no HOST:PORT'],
    [['--wrong'], '--wrong'],
  ] as const) {
    const { code, output } = await probe(...args)
    expect([code, output]).toEqual([2, expect.stringContaining(reason)])
  }
})

test('a Worker that cannot be reached is told for each question, and the exit code is 1', async () => {
  const { code, output } = await probe('--url', 'http://127.0.0.1:9', '--token', 't')
  expect(code).toBe(1)
  expect(output.match(/failed: /g)).toHaveLength(QUESTIONS.length - 2)
})
