import { describe, expect, test } from 'vitest'
import { MAX_UNTAKEN_BYTES, READ_LENGTH, SMALLEST_LINE } from '../../stream/limits.ts'
import { Flow } from './flow.ts'

/** Sends lines as large as they may be until nothing goes any more. */
function fill(flow: Flow, from = 1): { lines: number[]; serial: number } {
  const lines: number[] = []
  let serial = from - 1
  for (;;) {
    const bytes = flow.lineLength
    if (!flow.allows(bytes)) return { lines, serial }
    flow.sent(++serial, bytes)
    lines.push(bytes)
  }
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)

describe('request-n', () => {
  test('never more lines than were requested', () => {
    const flow = new Flow()
    expect(flow.allows(1)).toBe(false)
    flow.request(2)
    flow.sent(1, 10)
    flow.sent(2, 10)
    expect(flow.allows(1)).toBe(false)
    flow.request(1)
    expect(flow.allows(1)).toBe(true)
  })

  test.each([1, 2, 10, 64, 128])('all %i lines that a client requested fit into what may be on its way', (n) => {
    const flow = new Flow()
    flow.request(n)
    const { lines } = fill(flow)
    expect(lines.length).toBe(n)
    expect(sum(lines)).toBeLessThanOrEqual(MAX_UNTAKEN_BYTES)
    expect(flow.outstanding).toBe(sum(lines))
    // It requests another one for each that it has consumed.
    for (let i = 0; i < n; i++) flow.request(1)
    expect(flow.outstanding).toBe(0)
  })

  test('a client that requests everything at once gets no more than that either', () => {
    const flow = new Flow()
    flow.request(0x7fffffff)
    flow.request(0x7fffffff)
    const { lines, serial } = fill(flow)
    expect(sum(lines)).toBeLessThanOrEqual(MAX_UNTAKEN_BYTES)
    expect(Math.min(...lines)).toBeGreaterThanOrEqual(SMALLEST_LINE)
    // It answers, and from now on lines are large.
    flow.received(serial)
    expect(flow.outstanding).toBe(0)
    expect(flow.lineLength).toBe(READ_LENGTH)
    expect(sum(fill(flow, serial + 1).lines)).toBeLessThanOrEqual(MAX_UNTAKEN_BYTES)
  })

  test('what was received is everything up to the line behind which it was asked', () => {
    const flow = new Flow()
    flow.request(100)
    for (let serial = 1; serial <= 10; serial++) flow.sent(serial, 100)
    flow.received(4)
    expect(flow.outstanding).toBe(600)
    flow.received(4)
    expect(flow.outstanding).toBe(600)
    flow.received(10)
    expect(flow.outstanding).toBe(0)
  })

  test('a single op that is larger than everything goes alone, and does not stop a client that never answers', () => {
    const flow = new Flow()
    flow.request(10)
    const large = MAX_UNTAKEN_BYTES * 3
    expect(flow.allows(large)).toBe(true)
    flow.sent(1, large)
    expect(flow.allows(1)).toBe(true)
    const answering = new Flow()
    answering.request(10)
    answering.sent(1, 1)
    answering.received(1)
    answering.sent(2, large)
    expect(answering.allows(1)).toBe(false)
    answering.received(2)
    expect(answering.allows(large)).toBe(true)
  })
})
