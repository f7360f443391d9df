import { expect, test } from 'vitest'
import { attemptOf, nextAttempt, TRIES, type Attempt } from './attempts.ts'
import { Care } from '../ingest/care.ts'
import type { Suspect } from '../store/stored.ts'

const exactly = () => 0.5
const at = (stream: string, copy = '') => ({ stream, copy, now: 1_000_000, reason: null })
/** Sessions that are killed one after the other, each where it says. */
function killed(...places: string[]): Attempt[] {
  const attempts: Attempt[] = []
  for (const place of places) attempts.push(nextAttempt(attempts.at(-1) ?? null, at(place), exactly))
  return attempts
}
const times = (n: number, place: string) => Array.from({ length: n }, () => place)

test('sessions that are killed at one place wait ever longer, from when they began; a step forward ends that', () => {
  const waits = killed(...times(10, 'a'), 'b').map(({ until }) => until - 1_000_000)
  expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000, 500])
})

test('after three deaths at one place slices are small, after three more changes come one by one; a step forward is no reason to be less careful', () => {
  const care = (...places: string[]) => killed(...places).map((attempt) => attempt.care)
  expect(care(...times(7, 'a'))).toEqual([0, 0, 0, 1, 1, 1, 2])
  expect(care(...times(4, 'a'), ...times(4, 'b'), 'c')).toEqual([0, 0, 0, 1, 1, 1, 1, 2, 2])
  expect(care('a', 'b', 'c', 'd', 'e')).toEqual([0, 0, 0, 0, 0])
  // A session that ends as it should: nothing is known of the one before.
  expect(nextAttempt(null, at('a'), exactly)).toMatchObject({ starts: 1, care: 0 })
})

test('a copy that does not move on counts also while the stream does', () => {
  const first = nextAttempt(null, at('a', 'block 7'), exactly)
  expect(nextAttempt(first, at('b', 'block 7'), exactly).starts).toBe(2)
  expect(nextAttempt(first, at('b', 'block 8'), exactly).starts).toBe(1)
  // Nothing is copied.
  expect(nextAttempt(nextAttempt(null, at('a'), exactly), at('b'), exactly).starts).toBe(1)
})

test('what an earlier version has stored is read', () => {
  expect([attemptOf(false), attemptOf(null)]).toEqual([null, null])
  expect(attemptOf(true)).toMatchObject({ alive: true, starts: 1, until: 0 })
})

test('a change that is noted and never stored is tried three times, then skipped, and left alone when that kills as well', () => {
  const table = { number: 1, schema: 'public', name: 't' }
  let stored: Suspect[] = []
  const state = { get: () => stored, set: (_key: string, value: unknown) => void (stored = value as Suspect[]) }
  /** What a session that begins now does with the change. */
  const session = (key = '["1"]') => {
    const care = new Care({ state: state as never, durable: () => new Promise(() => {}), failed: () => {} })
    care.begin(2, 1_000)
    const steps = care.about(table, key)
    expect([steps.next().done, care.waits]).toEqual([false, true])
    return { care, taking: steps.next().value }
  }
  const takings = Array.from({ length: 2 * TRIES + 1 }, () => session().taking)
  expect(takings).toEqual(['take', 'take', 'take', 'skip', 'skip', 'skip', 'leave'])
  const { care } = session()
  care.skipped(true)
  care.stored(1)
  expect(stored).toEqual([{ t: 1, key: '["1"]', tries: TRIES - 1, again: true }])
  // The copy that was under way is done: the table is compared, which tries the row once more.
  expect([care.copied(1), session().taking, session().taking]).toEqual([true, 'take', 'skip'])
  const last = session().care
  last.skipped(false)
  expect([last.copied(1), stored, last.copied(1)]).toEqual([false, [], false])
})

test('a change that is stored is not suspected any more, and care ends when the place is passed', () => {
  let stored: Suspect[] = []
  const state = { get: () => stored, set: (_key: string, value: unknown) => void (stored = value as Suspect[]) }
  const care = new Care({ state: state as never, durable: () => Promise.resolve(), failed: () => {} })
  care.begin(2, 2)
  const table = { number: 1, schema: 'public', name: 't' }
  for (const key of ['a', 'b']) {
    expect([care.slice(8_000), care.notes(table, key)]).toEqual([1, true])
    for (const _ of care.about(table, key)) expect(stored).toMatchObject([{ key, tries: 1 }])
    care.stored(1)
    expect(stored).toEqual([])
  }
  expect([care.slice(8_000), care.notes(table, 'c')]).toEqual([8_000, false])
  care.begin(1, 1_000)
  expect([care.slice(8_000), care.notes(table, 'c')]).toEqual([100, false])
})
