import { expect, test } from 'vitest'
import { ActiveObjects, type Clock } from './active.ts'

/** Time that passes only while everybody waits. */
function testClock(): Clock & { time: number } {
  const clock = {
    time: 0,
    now: () => clock.time,
    async sleep(ms: number) {
      await new Promise((resolve) => setImmediate(resolve))
      clock.time += ms
    },
  }
  return clock
}

test('no more objects than the limit are awake, awake ones do not wait, and all get their turn in order', async () => {
  const clock = testClock()
  const active = new ActiveObjects(clock)
  active.limit = 10
  const entered: string[] = []
  const call = async (name: string) => {
    await active.enter(name)
    entered.push(name)
    await Promise.resolve()
    active.leave(name)
  }
  const names = Array.from({ length: 35 }, (_, i) => `b${i}`)
  await Promise.all(names.map(call))
  expect(entered).toEqual(names)
  expect(active.peak).toBe(10)
  // Three times ten had to sleep in first.
  expect(clock.time).toBe(3 * 12_000)
  const at = clock.time
  await call('b34')
  expect(clock.time).toBe(at)
})

test('an object is awake for as long as a call to it takes', async () => {
  const clock = testClock()
  const active = new ActiveObjects(clock)
  active.limit = 2
  await active.enter('slow')
  for (let n = 0; n < 5; n++) {
    await active.enter(`b${n}`)
    active.leave(`b${n}`)
  }
  expect(active.peak).toBe(2)
  await active.enter('slow')
  active.leave('slow')
  active.leave('slow')
  expect(active.size).toBe(2)
})

test('without a limit nothing is remembered', async () => {
  const active = new ActiveObjects(testClock())
  for (let n = 0; n < 100; n++) await active.enter(`b${n}`)
  expect(active.size).toBe(0)
})
