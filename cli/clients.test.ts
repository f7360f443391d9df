import { expect, test } from 'vitest'
import { clientsText } from './clients.ts'

const at = '2026-11-30T10:00:00.000Z'
const stream = { user: 'alice', client: 'c1', sdk: 'sdk/1', since: at, buckets: 2, position: 7, held: 1_234 }

test('streams are a table; what is not listed, and relays that are silent, are named below it', () => {
  const silent = [
    { relay: 'acme/main/1', streams: 3, at },
    { relay: 'acme/main/2', streams: null, at: null },
  ]
  expect(clientsText({ at, total: 5, streams: [stream], more: 4, silent }).split('\n')).toEqual([
    'user   client  sdk    since                 buckets  position  held',
    'alice  c1      sdk/1  2026-11-30T10:00:00Z  2        7         1,234 B',
    `5 streams at ${at}; 4 of them are not listed`,
    `acme/main/1 does not answer; at ${at} it had 3 streams`,
    'acme/main/2 does not answer',
  ])
  expect(clientsText({ at, total: 0, streams: [], more: 0, silent: [] })).toBe(`0 streams at ${at}`)
})

test('what a client calls itself cannot write on the terminal', () => {
  const hostile = { ...stream, user: 'a\u001b[2J', sdk: '\u202etxt', client: '', position: null }
  const text = clientsText({ at, total: 1, streams: [hostile, { ...stream, user: null }], more: 0, silent: [] })
  expect(text).toMatch(/\na\ufffd\[2J +- +\ufffdtxt /)
  expect(text).toMatch(/an older release opened it/)
})
