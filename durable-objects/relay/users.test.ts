import { expect, test } from 'vitest'
import { admit, MAX_STREAMS_PER_USER, type StreamUser } from './users.ts'

const NOW = 1_000_000
const streams = (count: number, of: (n: number) => Partial<StreamUser> = () => ({})): [number, StreamUser][] =>
  Array.from({ length: count }, (_, n) => [n, { user: 'u', client: `c${n}`, since: NOW - 300_000 + n, ...of(n) }])

test('streams of others do not count, and up to the limit nobody is closed', () => {
  const others = streams(100, () => ({ user: 'v' }))
  expect(admit([...others, ...streams(MAX_STREAMS_PER_USER - 1)], { user: 'u', client: 'new' }, NOW)).toEqual({
    kind: 'admitted',
    close: null,
  })
})

test('over the limit the oldest stream of the same client makes room, then the oldest of all', () => {
  const full = streams(MAX_STREAMS_PER_USER)
  expect(admit(full, { user: 'u', client: 'c7' }, NOW)).toEqual({ kind: 'admitted', close: 7 })
  expect(admit([...full].reverse(), { user: 'u', client: 'new' }, NOW)).toEqual({ kind: 'admitted', close: 0 })
})

test('streams of other clients that are younger than a minute stay: the new one is refused, and told for how long', () => {
  const young = streams(MAX_STREAMS_PER_USER, (n) => ({ since: NOW - 20_000 - n }))
  const last = MAX_STREAMS_PER_USER - 1
  expect(admit(young, { user: 'u', client: 'new' }, NOW)).toEqual({
    kind: 'refused',
    retryAfterSeconds: Math.ceil((60_000 - 20_000 - last) / 1_000),
  })
  expect(admit(young, { user: 'u', client: 'c3' }, NOW)).toEqual({ kind: 'admitted', close: 3 })
})
