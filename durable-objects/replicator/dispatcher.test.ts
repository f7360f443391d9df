import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { bucketObjectName } from '../../protocol/names.ts'
import type { Environment } from '../environment.ts'
import { page, put } from '../bucket/test-ops.ts'
import { Dispatcher } from './dispatcher.ts'

const CALL_MS = 1_000
const SENT = { ...page(1, put('a', '{}')), bucket: 1, length: 2 }

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: 0 }))
afterEach(() => void vi.useRealTimers())

/** Passes time; what the runtime computes on other threads comes meanwhile. */
async function pass(milliseconds: number): Promise<void> {
  for (let at = 0; at < milliseconds; at += 50) {
    await new Promise((resolve) => setImmediate(resolve))
    await vi.advanceTimersByTimeAsync(50)
  }
}

/** Buckets that answer at once, unless they hang or throw. */
async function world(names: readonly string[], parallel: number) {
  const behaviour = new Map<string, 'hangs' | 'throws'>()
  const called: { name: string; at: number }[] = []
  const byObject = new Map<string, string>()
  for (const name of names) byObject.set(await bucketObjectName('t', name), name)
  const append = (object: string) => () => {
    const name = byObject.get(object) ?? ''
    called.push({ name, at: Date.now() })
    if (behaviour.get(name) === 'throws') return Promise.reject(new Error('moved'))
    return behaviour.get(name) === 'hangs' ? new Promise(() => {}) : Promise.resolve({ count: 1, checksum: 1, last: 1 })
  }
  const env = { CALL_SECONDS: String(CALL_MS / 1_000), BUCKET: { getByName: (name: string) => ({ append: append(name) }) } }
  const dispatcher = new Dispatcher(env as unknown as Environment, 't', () => {})
  dispatcher.parallel = parallel
  const done = new Map<string, { at: number; answered: boolean }>()
  const send = (name: string, fenceMs = Infinity) => {
    let wanted = true
    const unanswered = (ms: number) => void (wanted &&= ms < fenceMs)
    const sending = { committed: () => 0, wanted: () => wanted, unanswered }
    void dispatcher
      .append(name, { ...SENT, body: () => SENT.body }, sending)
      .then((state) => done.set(name, { at: Date.now(), answered: state !== null }))
  }
  return { behaviour, called, dispatcher, done, send }
}

const many = (prefix: string, n: number) => Array.from({ length: n }, (_, i) => `${prefix}${i}`)

test('buckets that did not answer in time hold a few slots of their own: the others wait for the first calls of these at most', async () => {
  const silent = many('silent', 80)
  const healthy = many('healthy', 100)
  const w = await world([...silent, ...healthy], 32)
  for (const name of silent) w.behaviour.set(name, 'hangs')
  for (const name of [...silent, ...healthy]) w.send(name)
  await pass(2_900)
  // Three times as long as a call: 32 and 32 and 16 of them had their first turn.
  expect(healthy.every((name) => (w.done.get(name)?.at ?? Infinity) <= 2 * CALL_MS + 200)).toBe(true)
  w.called.length = 0
  await pass(20_000)
  // A quarter of the slots, one after the other in the order in which they fell silent.
  expect(w.called.length).toBeGreaterThan(8 * 18)
  expect(w.called.length).toBeLessThanOrEqual(8 * 21)
  const turns = silent.map((name) => w.called.filter((call) => call.name === name).length)
  expect([Math.max(...turns) - Math.min(...turns) <= 1, Math.min(...turns) >= 1]).toEqual([true, true])
  // They answer: each is told so.
  w.behaviour.clear()
  await pass(30_000)
  expect([...w.done.values()].filter(({ answered }) => answered)).toHaveLength(180)
})

test('one that fails at once is tried again among the healthy, however many are silent', async () => {
  const silent = many('silent', 64)
  const w = await world([...silent, 'moved'], 32)
  for (const name of silent) w.behaviour.set(name, 'hangs')
  for (const name of silent) w.send(name)
  await pass(3_000)
  w.behaviour.set('moved', 'throws')
  w.send('moved')
  await pass(1_000)
  w.behaviour.delete('moved')
  await pass(2_000)
  expect(w.done.get('moved')).toMatchObject({ answered: true })
})

test('silence is counted from the first call also while a bucket waits for its turn: all are given up together, not some at a time', async () => {
  const silent = many('silent', 100)
  const w = await world(silent, 32)
  for (const name of silent) w.behaviour.set(name, 'hangs')
  for (const name of silent) w.send(name, 20_000)
  await pass(19_000)
  expect(w.done.size).toBe(0)
  // The last ones were called first after three calls of others.
  await pass(1_000 + 3 * CALL_MS + 2 * CALL_MS)
  expect([...w.done.values()].filter(({ answered }) => !answered)).toHaveLength(100)
})
