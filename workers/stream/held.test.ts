import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { boundedPorts } from './bounded.ts'
import { Held, StreamMemory } from './held.ts'
import {
  HELD_BYTES,
  HELD_LOOK_SECONDS,
  HELD_SECONDS,
  MOST_HELD_BYTES,
  READ_COPIES,
  READ_LENGTH,
  SILENT_SECONDS,
} from './limits.ts'
import type { StreamPorts } from './ports.ts'

const never = new AbortController().signal

/** A client whose transport keeps what it was sent until it is taken. */
function client(memory: StreamMemory, reads: number) {
  const stop = new AbortController()
  const held = new Held(0, memory)
  void held.ended.then((why) => stop.abort(new Error(why)))
  let lying = 0
  let room = () => {}
  const unused = () => Promise.reject(new Error('not asked for'))
  const base = {
    connect: unused,
    plan: unused,
    rows: unused,
    pause: unused,
    tails: () => {},
    served: () => {},
    read: async () => ({ kind: 'ops', body: 'x'.repeat(READ_LENGTH), count: 1, last: 1, more: true }),
    lines: {
      signal: stop.signal,
      room: async () => {
        while (lying > 0 && !stop.signal.aborted) await new Promise<void>((resolve) => (room = resolve))
        stop.signal.throwIfAborted()
      },
      send: async () => {},
      data: async () => held.set('transport', (lying = READ_LENGTH)),
    },
  } as unknown as StreamPorts
  const ports = boundedPorts(base, held)
  stop.signal.addEventListener('abort', () => room())
  const done = (async () => {
    for (let n = 0; n < reads; n++) {
      await ports.lines.room()
      const answer = await ports.read('b', 0, 1)
      if (answer.kind === 'ops')
        await ports.lines.data({ bucket: 'b', after: 0, next: 1, more: true, ops: answer.body })
    }
    await ports.lines.send({ checkpoint_complete: { last_op_id: '1' } })
  })()
  const take = () => {
    held.set('transport', (lying = 0))
    room()
  }
  return { held, stop, take, done, lying: () => lying > 0 }
}

describe('what the streams of an isolate hold together', () => {
  test('2,000 clients that download at once stay below it, and all of them come to their end', async () => {
    const memory = new StreamMemory()
    const clients = Array.from({ length: 2_000 }, () => client(memory, 3))
    let done = 0
    for (const each of clients) void each.done.then(() => done++)
    while (done < clients.length) {
      await new Promise((resolve) => setImmediate(resolve))
      for (const each of clients) if (each.lying()) each.take()
    }
    expect(memory.peakSum).toBeLessThanOrEqual(HELD_BYTES)
    expect(memory.peakSum).toBeGreaterThan(HELD_BYTES - READ_LENGTH)
    for (const each of clients) each.take()
    expect([memory.sum, memory.waiting]).toEqual([0, 0])
  })

  test('room goes to whoever has waited longest', async () => {
    const memory = new StreamMemory(1_000, 2_000)
    const holder = new Held(0, memory)
    holder.set('transport', 900)
    const order: string[] = []
    const waits = ['large', 'small', 'smaller'].map(async (name, i) => {
      const held = new Held(0, memory)
      await held.reserve(800 - i * 350, never)
      order.push(name)
      return held
    })
    // The small ones would fit; the large one would never come.
    holder.set('transport', 500)
    await Promise.resolve()
    expect(order).toEqual([])
    holder.set('transport', 0)
    ;(await waits[0])?.close()
    await Promise.all(waits)
    expect(order).toEqual(['large', 'small', 'smaller'])
  })

  test('a stream that ends while it waits lets the next one pass', async () => {
    const memory = new StreamMemory(1_000, 2_000)
    const holder = new Held(0, memory)
    holder.set('transport', 500)
    const stop = new AbortController()
    const first = new Held(0, memory).reserve(800, stop.signal)
    const second = new Held(0, memory).reserve(400, never)
    stop.abort(new Error('gone'))
    await expect(first).rejects.toThrow('gone')
    await second
    expect(memory.sum).toBe(900)
  })

  test('a client keeps what it has not told: only a download counts it', () => {
    const memory = new StreamMemory()
    const held = new Held(100, memory)
    held.set('transport', 150)
    expect([held.bytes, held.counted]).toEqual([150, 50])
    held.downloading = true
    expect(memory.sum).toBe(150)
    held.downloading = false
    expect(memory.sum).toBe(50)
    held.close()
    expect(memory.sum).toBe(0)
  })

  test('what streams know has a part of the room; beyond it who wants more gets none, the others keep theirs, and reads go on', async () => {
    const memory = new StreamMemory(1_000, 2_000, 400)
    const [first, second, third] = [new Held(0, memory), new Held(0, memory), new Held(0, memory)]
    expect([first.know(150), second.know(200), third.know(51), second.know(251)]).toEqual([true, true, false, false])
    expect([memory.known, memory.sum, third.counted]).toEqual([350, 350, 0])
    await second.reserve(650, never)
    expect(memory.waiting).toBe(0)
    // One that alone holds what passes is never kept waiting by what is known.
    second.set('reading', 0)
    await first.reserve(900, never)
    expect([first.known, first.counted, memory.sum]).toEqual([150, 1_050, 1_250])
    first.set('reading', 0)
    expect([first.know(50), third.know(150), first.stalled, memory.known]).toEqual([true, true, null, 400])
    second.close()
    expect([memory.known, memory.sum, third.know(350)]).toEqual([200, 200, true])
    third.end('why')
    expect(third.know(300)).toBe(true)
    expect([memory.known, memory.sum]).toEqual([50, 50])
  })
})

describe('streams that end for the others', () => {
  beforeEach(() => vi.useFakeTimers({ toFake: ['setTimeout', 'setInterval', 'clearInterval', 'Date'] }))
  afterEach(() => vi.useRealTimers())

  test('clients that take nothing do not keep everybody waiting', async () => {
    const memory = new StreamMemory()
    // As many as there is room for while the last one reads.
    const hoarders = Array.from({ length: Math.floor(HELD_BYTES / READ_LENGTH) + 1 - READ_COPIES }, () =>
      client(memory, 2),
    )
    for (const each of hoarders) each.done.catch(() => {})
    await vi.waitFor(() => expect(hoarders.every((each) => each.lying())).toBe(true))
    // The first of them reads on, late.
    vi.advanceTimersByTime(1_000)
    hoarders[0]?.take()
    await vi.waitFor(() => expect(hoarders[0]?.lying()).toBe(true))
    const honest = client(memory, 1)
    let served = false
    void honest.done.then(() => (served = true))
    for (let n = 0; n < 10; n++) await Promise.resolve()
    expect(memory.waiting).toBe(1)
    vi.advanceTimersByTime((HELD_SECONDS - HELD_LOOK_SECONDS) * 1_000)
    await Promise.resolve()
    expect(served).toBe(false)
    vi.advanceTimersByTime(HELD_LOOK_SECONDS * 1_000)
    await vi.waitFor(() => expect(served).toBe(true))
    expect(hoarders.map((each) => each.stop.signal.aborted).indexOf(true)).toBe(1)
    expect(hoarders.filter((each) => each.stop.signal.aborted)).toHaveLength(1)
    expect(String(hoarders[1]?.stop.signal.reason)).toContain('others wait')
  })

  test('clients that take nothing leave their room to those that read, also while slow ones keep it moving', async () => {
    const memory = new StreamMemory()
    const [slow, fast] = [
      Array.from({ length: 20 }, () => client(memory, 10_000)),
      Array.from({ length: 10 }, () => client(memory, 10)),
    ]
    // They sleep, and have not taken their last sign of life.
    const idle = Array.from({ length: 100 }, () => new Held(0, memory))
    for (const each of idle) each.set('transport', 25)
    // All but what two reads need.
    const stopped = Array.from({ length: Math.floor(HELD_BYTES / READ_LENGTH) - 2 * READ_COPIES }, () =>
      client(memory, 2),
    )
    for (const each of [...slow, ...fast, ...stopped]) each.done.catch(() => {})
    let done = 0
    for (const each of fast) void each.done.then(() => done++)
    const since = new Map<object, number>()
    let seconds = 0
    for (; done < fast.length && seconds < 3_600; seconds += 0.5) {
      await vi.advanceTimersByTimeAsync(500)
      for (const each of fast) if (each.lying()) each.take()
      for (const each of slow) {
        if (!each.lying()) since.delete(each)
        else if (!since.has(each)) since.set(each, seconds)
        else if (seconds - (since.get(each) ?? 0) >= 4) each.take()
      }
    }
    expect(seconds).toBeLessThan(HELD_SECONDS + 20)
    expect([...slow, ...fast].filter((each) => each.stop.signal.aborted)).toEqual([])
    expect(stopped.filter((each) => each.stop.signal.aborted).length).toBeGreaterThan(10)
    expect(idle.filter((each) => each.bytes !== each.counted)).toEqual([])
    for (const each of [...slow, ...stopped]) each.held.end('over')
  })

  test('when all that is held is of streams that wait themselves, or little of very many, the largest end until the first has room', async () => {
    const memory = new StreamMemory(1_000, 2_000)
    const ended: number[] = []
    const small = Array.from({ length: 10 }, (_, n) => {
      const held = new Held(0, memory)
      void held.ended.then(() => ended.push(n))
      held.set('tails', 80 + n)
      return held
    })
    const [first, second] = [small[9], small[3]]
    const granted: string[] = []
    void first?.reserve(300, never).then(() => granted.push('first'))
    const waits = second?.reserve(700, never).then(() => granted.push('second'))
    await vi.advanceTimersByTimeAsync((HELD_SECONDS - 1) * 1_000)
    expect([ended, granted]).toEqual([[], []])
    await vi.advanceTimersByTimeAsync(HELD_LOOK_SECONDS * 1_000)
    expect([ended, granted]).toEqual([[8, 7], ['first']])
    first?.close()
    await vi.advanceTimersByTimeAsync((HELD_SECONDS - HELD_LOOK_SECONDS) * 1_000)
    expect(granted).toEqual(['first'])
    await vi.advanceTimersByTimeAsync(HELD_LOOK_SECONDS * 1_000)
    await waits
    expect([ended, granted]).toEqual([
      [8, 7, 6, 5, 4, 2],
      ['first', 'second'],
    ])
  })

  test('what a stream knows that shows no sign of life is given to others when they need it', () => {
    const memory = new StreamMemory(1_000, 2_000, 400)
    const [dead, living, next] = [new Held(0, memory), new Held(0, memory), new Held(0, memory)]
    expect([dead.know(200), living.know(200)]).toEqual([true, true])
    for (let n = 0; n < 9; n++) {
      vi.advanceTimersByTime(SILENT_SECONDS * 100)
      for (const each of [living, next]) each.alive()
    }
    expect(next.know(200)).toBe(false)
    vi.advanceTimersByTime(SILENT_SECONDS * 100)
    expect([next.know(200), memory.known, dead.counted, living.known]).toEqual([true, 400, 0, 200])
  })

  test('above the highest limit the largest stream ends', async () => {
    const memory = new StreamMemory()
    const ended: string[] = []
    const holder = (name: string) => {
      const held = new Held(0, memory)
      void held.ended.then(() => ended.push(name))
      return held
    }
    const [small, large, other] = [holder('small'), holder('large'), holder('other')]
    small.set('transport', 20 * 1024 * 1024)
    large.set('transport', 40 * 1024 * 1024)
    await Promise.resolve()
    expect(ended).toEqual([])
    other.set('upstream', 20 * 1024 * 1024 + 1)
    await Promise.resolve()
    expect(ended).toEqual(['large'])
    expect(memory.sum).toBeLessThanOrEqual(MOST_HELD_BYTES)
  })
})
