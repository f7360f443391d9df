import { Duplex } from 'node:stream'
import type { Sql } from 'postgres'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { openReplication } from './replication.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** A walsender that sends what it is told to, and counts what it hears. */
async function session() {
  const statuses: Buffer[] = []
  const stream = new Duplex({
    read: () => {},
    write: (chunk: Buffer, _encoding, done) => {
      statuses.push(chunk)
      done()
    },
  })
  const sql = { unsafe: () => ({ writable: async () => stream }), end: async () => void stream.destroy() }
  const options = { slot: 's', publication: 'p', walSenderTimeoutMs: 60_000 }
  const opened = await openReplication(sql as unknown as Sql, options, { message: () => {}, keepalive: () => {} })
  opened.ended.catch(() => {})
  return {
    opened,
    statuses,
    /** A transaction begins, of which Postgres says that its WAL ends at `lsn`. */
    async change(lsn: bigint, finalLsn = 0n) {
      const bytes = Buffer.alloc(25 + 21)
      bytes.write('w')
      bytes.writeBigUInt64BE(lsn, 9)
      bytes.write('B', 25)
      bytes.writeBigUInt64BE(finalLsn, 26)
      stream.push(bytes)
      await vi.advanceTimersByTimeAsync(0)
    },
  }
}

test('a server that falls silent behind a change is nudged soon, ever less often, and then only by the beat', async () => {
  const { opened, statuses, change } = await session()
  await vi.advanceTimersByTimeAsync(5_000)
  expect(statuses).toHaveLength(0)
  await change(100n)
  for (const [ms, sent] of [
    [19, 0],
    [1, 1],
    [79, 1],
    [1, 2],
    [400, 3],
    [1_500, 4],
    [2_900, 4],
    [200, 5],
  ] as const) {
    await vi.advanceTimersByTimeAsync(ms)
    expect(statuses).toHaveLength(sent)
  }
  expect(statuses.slice(0, 4).map((bytes) => bytes[33])).toEqual([0, 0, 0, 0])
  await opened.close()
})

test('it is not nudged while changes come; an acknowledgement counts as one; nothing is sent behind the end', async () => {
  const { opened, statuses, change } = await session()
  for (let n = 1n; n <= 50n; n++) {
    await change(n)
    await vi.advanceTimersByTimeAsync(15)
  }
  expect(statuses).toHaveLength(0)
  opened.acknowledge(50n)
  await vi.advanceTimersByTimeAsync(19)
  expect(statuses).toHaveLength(1)
  expect(statuses[0]?.readBigUInt64BE(1)).toBe(50n)
  await vi.advanceTimersByTimeAsync(1)
  expect(statuses).toHaveLength(2)
  await change(51n)
  const closed = opened.close()
  await vi.advanceTimersByTimeAsync(0)
  await closed
  const { length } = statuses
  await vi.advanceTimersByTimeAsync(60_000)
  expect(statuses).toHaveLength(length)
})

test('nothing beyond the end of the WAL is acknowledged, but what is beyond a transaction is, as soon as it begins', async () => {
  const { opened, statuses, change } = await session()
  await change(50n, 200n)
  for (const [lsn, heard] of [
    [201n, 201n],
    [999n, 201n],
  ] as const) {
    opened.acknowledge(lsn)
    expect(statuses.at(-1)?.readBigUInt64BE(1)).toBe(heard)
  }
  expect(statuses).toHaveLength(1)
  await opened.close()
})
