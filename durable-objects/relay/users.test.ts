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
    of: 'user',
    retryAfterSeconds: Math.ceil((60_000 - 20_000 - last) / 1_000),
  })
  expect(admit(young, { user: 'u', client: 'c3' }, NOW)).toEqual({ kind: 'admitted', close: 3 })
})

test('of a tenant that has as many as it may, only a stream of the same client makes room', () => {
  const some = streams(3)
  const ask = (user: string, client: string) => admit(some, { user, client }, NOW, MAX_STREAMS_PER_USER, true)
  expect(ask('u', 'c1')).toEqual({ kind: 'admitted', close: 1 })
  for (const [user, client] of [
    ['u', 'new'],
    ['v', 'c1'],
  ] as const)
    expect(ask(user, client)).toEqual({ kind: 'refused', of: 'tenant', retryAfterSeconds: 60 })
})

test('a user with half-open streams who connects again and again is never locked out for more than a minute', () => {
  let now = NOW
  let open = new Map(streams(MAX_STREAMS_PER_USER, (n) => ({ since: now - n })))
  let next = 100
  let refusedSince: number | null = null
  for (let seconds = 0; seconds < 600; seconds++, now += 1_000) {
    // Each time as another client: a reinstalled app, a private window.
    const admission = admit(open, { user: 'u', client: `new ${seconds}` }, now)
    if (admission.kind === 'refused') {
      refusedSince ??= now
      expect(now - refusedSince).toBeLessThan(60_000)
      expect(admission.retryAfterSeconds).toBeLessThanOrEqual(60)
      continue
    }
    refusedSince = null
    open = new Map([...open].filter(([stream]) => stream !== admission.close))
    open.set(next++, { user: 'u', client: `new ${seconds}`, since: now })
    expect(open.size).toBe(MAX_STREAMS_PER_USER)
  }
})
