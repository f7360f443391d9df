import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { TENANT_PART } from '../shares/tenant-part.ts'
import { Held, StreamMemory } from './held.ts'
import { HELD_LOOK_SECONDS, HELD_SECONDS, KNOWN_BYTES, KNOWN_STREAM_BYTES } from './limits.ts'

const never = new AbortController().signal
const MB = 1024 * 1024

/** Makes streams of tenants that share the memory of an isolate. */
function isolate(memory = new StreamMemory()) {
  const stream = (tenant: string, part: number | null = TENANT_PART) => {
    const held = new Held(0, memory)
    held.belongTo(tenant, part)
    return held
  }
  return { memory, stream }
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'setInterval', 'clearInterval', 'Date'] }))
afterEach(() => void vi.useRealTimers())

describe('tenants that share an isolate', () => {
  test('one that opens as many streams as it can leaves room for those of others', () => {
    const { memory, stream } = isolate()
    let streams = 0
    while (stream('a').know(KNOWN_STREAM_BYTES)) streams++
    expect(memory.known).toBeGreaterThan(8 * MB)
    expect(memory.known).toBeLessThanOrEqual(KNOWN_BYTES * TENANT_PART)
    expect(streams).toBe(Math.floor((KNOWN_BYTES * TENANT_PART) / KNOWN_STREAM_BYTES))
    expect(stream('b').know(KNOWN_STREAM_BYTES)).toBe(true)
  })

  test('reads of one wait for its own room, in their order, and keep nobody else waiting', async () => {
    const { memory, stream } = isolate(new StreamMemory(1_000, 2_000))
    const holder = stream('a')
    holder.set('transport', 200)
    const order: string[] = []
    const read = async (tenant: string, name: string, bytes: number) => {
      const held = stream(tenant)
      await held.reserve(bytes, never)
      order.push(name)
      return held
    }
    // The small one would fit, and the large one would never come.
    const [large, small] = [read('a', 'large', 150), read('a', 'small', 50)]
    await read('b', 'other', 250)
    expect([order, memory.waiting]).toEqual([['other'], 2])
    holder.set('transport', 0)
    ;(await large).close()
    await small
    expect(order).toEqual(['other', 'large', 'small'])
  })

  test('those that wait for the isolate keep their turn, whoever else waits for room of a tenant', async () => {
    const { memory, stream } = isolate(new StreamMemory(1_000, 2_000))
    const holders = ['a', 'b', 'c', 'd'].map((tenant) => stream(tenant))
    for (const each of holders) each.set('transport', 240)
    const order: string[] = []
    const a = stream('a')
      .reserve(200, never)
      .then(() => order.push('a'))
    const e = stream('e')
      .reserve(100, never)
      .then(() => order.push('e'))
    const f = stream('f')
      .reserve(40, never)
      .then(() => order.push('f'))
    await Promise.resolve()
    expect([order, memory.waiting]).toEqual([[], 3])
    holders[3]?.close()
    await e
    await f
    expect(order).toEqual(['e', 'f'])
    holders[0]?.close()
    await a
    expect([order, memory.waiting]).toEqual([['e', 'f', 'a'], 0])
  })

  test('streams that take nothing end for others of their tenant, and for those that wait for the isolate', async () => {
    const memory = new StreamMemory(400_000, 800_000)
    const { stream } = isolate(memory)
    const ended: string[] = []
    const holder = (tenant: string, name: string) => {
      const held = stream(tenant)
      void held.ended.then(() => ended.push(name))
      held.set('transport', 50_000)
      return held
    }
    holder('b', 'of b')
    for (const name of ['first of a', 'second of a']) holder('a', name)
    const waits = stream('a').reserve(40_000, never)
    await vi.advanceTimersByTimeAsync((HELD_SECONDS + HELD_LOOK_SECONDS) * 1_000)
    await waits
    expect(ended).toEqual(['first of a'])
    for (const tenant of ['c', 'd']) for (const name of ['1', '2']) holder(tenant, `${tenant}${name}`)
    holder('e', 'of e')
    const other = stream('f').reserve(60_000, never)
    await vi.advanceTimersByTimeAsync((HELD_SECONDS + HELD_LOOK_SECONDS) * 1_000)
    await other
    expect(ended).toEqual(['first of a', 'of b'])
  })

  test('one whose streams all wait for each other gets on, while others are given room all the time', async () => {
    const memory = new StreamMemory(1_000, 2_000)
    const { stream } = isolate(memory)
    const ended: number[] = []
    const small = [60, 61, 62, 63].map((bytes, n) => {
      const held = stream('a')
      void held.ended.then(() => ended.push(n))
      held.set('tails', bytes)
      return held
    })
    const waits = small[0]?.reserve(60, never)
    for (let seconds = 0; seconds < HELD_SECONDS + HELD_LOOK_SECONDS; seconds++) {
      await vi.advanceTimersByTimeAsync(1_000)
      const busy = stream('b')
      await busy.reserve(200, never)
      busy.close()
    }
    await waits
    expect(ended).toEqual([3])
  })

  test('above the most for a tenant its largest stream ends, and none of another', async () => {
    const { memory, stream } = isolate(new StreamMemory(1_000, 2_000))
    const ended: string[] = []
    const holder = (tenant: string, bytes: number) => {
      const held = stream(tenant)
      void held.ended.then(() => ended.push(`${tenant} ${bytes}`))
      held.set('upstream', bytes)
    }
    holder('b', 450)
    holder('a', 200)
    holder('a', 299)
    expect(memory.sum).toBe(949)
    holder('a', 2)
    await Promise.resolve()
    expect([ended, memory.sum]).toEqual([['a 299'], 652])
  })

  test('nothing is remembered of a tenant whose streams have ended; one that is alone has everything', () => {
    const { memory, stream } = isolate()
    const first = stream('a')
    first.know(KNOWN_BYTES * TENANT_PART)
    expect(stream('a').know(1)).toBe(false)
    first.close()
    expect([stream('a').know(KNOWN_BYTES * TENANT_PART), memory.known]).toEqual([true, KNOWN_BYTES * TENANT_PART])
    const alone = isolate()
    expect(alone.stream('default', null).know(KNOWN_BYTES)).toBe(true)
  })
})
