import { expect, test } from 'vitest'
import { clientsShape, type ShownStream } from '../../protocol/messages/census.ts'
import { bounded, joined, MAX_BYTES, MAX_STREAMS } from './kept.ts'

const stream = (n: number, user = `user ${n}`): ShownStream => ({
  user,
  client: `c${n}`,
  sdk: 'sdk/1',
  since: new Date(n * 1_000).toISOString(),
  buckets: n,
  position: n,
  held: 0,
})
const many = (n: number, user?: string) => Array.from({ length: n }, (_, i) => stream(i, user))

test('the newest 1,000 streams are listed, and the others are counted', () => {
  const { streams, more } = bounded(many(MAX_STREAMS + 5))
  expect([streams.length, more, streams[0]?.user, streams.at(-1)?.user]).toEqual([1_000, 5, 'user 1004', 'user 5'])
  expect(bounded(many(MAX_STREAMS)).more).toBe(0)
})

test('and no more than 512 KB of them, whatever their names are', () => {
  const names = many(MAX_STREAMS, '\u{1f600}'.repeat(64))
  expect(bounded(names).more).toBe(0)
  const huge = many(MAX_STREAMS, '\u0001'.repeat(128))
  const { streams, more } = bounded(huge)
  expect(more).toBeGreaterThan(0)
  expect(streams.length + more).toBe(MAX_STREAMS)
  expect(Buffer.byteLength(JSON.stringify(streams))).toBeLessThanOrEqual(MAX_BYTES + 2)
})

test('answers of relays are put together: every stream is listed or counted once', () => {
  const silent = [{ relay: 'a/main/1', streams: null, at: null }]
  const all = joined([bounded(many(800)), bounded(many(1_200)), { streams: [], more: 0 }], silent, new Date(0))
  expect([all.total, all.streams.length, all.more, all.silent]).toEqual([2_000, 1_000, 1_000, silent])
  expect(clientsShape.parse(JSON.parse(JSON.stringify(all)))).toEqual(all)
})
