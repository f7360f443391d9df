import { describe, expect, test } from 'vitest'
import type { SourceEvent } from '../../source.ts'
import type { PgoutputMessage } from '../types.ts'
import { disconnected } from './continuity.ts'
import { DescribedTables } from './described-tables.ts'
import { confirmedBy, type PostgresPosition } from './positions.ts'
import { sourceStream } from './source-stream.ts'
import { Transactions } from './transactions.ts'

// Positions beyond a transaction, which is not sent again.

const left: PostgresPosition = { lsn: '0/200', xid: 9, time: 't', beyond: true }

test('Postgres hears of one more than the commit LSN', () => {
  expect(confirmedBy(left)).toBe(0x201n)
  expect(confirmedBy({ lsn: '0/200', xid: 9, time: 't' })).toBe(0x200n)
})

test.each([
  ['it has not heard of it', 0x100n, null],
  ['it has heard of it', 0x201n, null],
  ['a stranger who read on', 0x202n, /somebody else/],
])('a slot: %s', (_, confirmedFlush, reason) => {
  const source = {
    identity: { systemIdentifier: '7', timeline: 1, database: 'app' },
    slot: { created: false, lost: null, confirmedFlush, failover: null },
    walEnd: 0x300n,
  }
  const found = disconnected({ systemIdentifier: '7', database: 'app' }, left, source)
  if (reason === null) expect(found).toBeNull()
  else expect(found?.reason).toMatch(reason)
})

describe('the stream behind it', () => {
  const transaction = (lsn: bigint, xid = Number(lsn), time = 't'): PgoutputMessage[] => [
    { type: 'begin', finalLsn: lsn, commitTime: time, xid },
    { type: 'insert', oid: 1, new: ['1'] },
    { type: 'commit', commitLsn: lsn, endLsn: lsn + 1n, commitTime: time },
  ]
  function read(confirmed: bigint, ...messages: PgoutputMessage[]) {
    const events: SourceEvent['kind'][] = []
    const repeated: PostgresPosition[] = []
    const options = {
      prefix: 'p',
      reference: () => 0n,
      confirmed,
      repeated: (position: PostgresPosition) => repeated.push(position),
    }
    const transactions = new Transactions(
      new DescribedTables([]),
      { position: left, place: null },
      options,
      ({ kind }) => events.push(kind),
    )
    for (const message of messages) transactions.message(message, 1)
    return { events, repeated }
  }

  test('is proved by a slot that has confirmed just that', () => {
    expect(read(0x201n, ...transaction(0x300n))).toEqual({ events: ['begin', 'passed', 'commit'], repeated: [] })
  })

  test.each([0x1ffn, 0x200n, 0x202n])('is not by one that has confirmed %s', (confirmed) => {
    expect(() => read(confirmed, ...transaction(0x300n))).toThrow(
      expect.objectContaining({ code: 'ROCKPOOL_SOURCE_CHANGED' }),
    )
  })

  test('ends when the transaction comes again, and nothing behind that is read', () => {
    expect(read(0x100n, ...transaction(0x200n, 9), ...transaction(0x300n))).toEqual({ events: [], repeated: [left] })
  })

  test('is another one when another transaction comes at its place', () => {
    for (const other of [transaction(0x200n, 8), transaction(0x200n, 9, 'another')]) {
      expect(() => read(0x100n, ...other)).toThrow(expect.objectContaining({ code: 'ROCKPOOL_SOURCE_CHANGED' }))
    }
  })
})

/** What is done to a replication session, in order. */
function streamed(confirmed = 0x100n) {
  const done: string[] = []
  const heard = Promise.withResolvers<void>()
  const repeated = Promise.withResolvers<PostgresPosition>()
  const ended = Promise.withResolvers<void>()
  const replication = {
    pause: () => done.push('pause'),
    resume: () => done.push('resume'),
    acknowledge: (lsn: bigint) => done.push(`acknowledge ${lsn}`),
    walEnd: 0x300n,
    ended: ended.promise,
    close: async () => {
      done.push('close')
      ended.resolve()
    },
  }
  const stream = sourceStream(replication, { confirmed, heard: () => heard.promise, repeated: repeated.promise })
  stream.ended.catch(() => {})
  return { stream, done, heard, repeated }
}
const turn = () => new Promise((resolve) => setTimeout(resolve, 0))

test('what was acknowledged beyond a transaction is heard before the connection goes: nothing is read meanwhile', async () => {
  const { stream, done, heard } = streamed()
  stream.acknowledge(left)
  stream.resume()
  const closed = stream.close()
  await turn()
  expect(done).toEqual(['acknowledge 513', 'pause'])
  heard.resolve()
  await closed
  expect(done).toEqual(['acknowledge 513', 'pause', 'close'])
  await expect(stream.ended).resolves.toBeUndefined()
})

test('a stream in which a transaction comes again tells the slot once more, and ends with a reason', async () => {
  const { stream, done, heard, repeated } = streamed()
  repeated.resolve(left)
  await turn()
  expect(done).toEqual(['acknowledge 513', 'pause'])
  heard.resolve()
  await expect(stream.ended).rejects.toMatchObject({
    code: 'ROCKPOOL_SOURCE_UNREACHABLE',
    message: expect.stringContaining('the transaction at 0/200 was left behind, and came again'),
  })
})

test('any other position is acknowledged, and the stream goes on', async () => {
  const { stream, done } = streamed()
  stream.acknowledge({ lsn: '0/200', xid: 9, time: 't' })
  stream.pause()
  stream.resume()
  await stream.close()
  expect(done).toEqual(['acknowledge 512', 'pause', 'resume', 'close'])
})

test('a position beyond a transaction that the slot has confirmed is acknowledged again, and the stream goes on', async () => {
  const { stream, done } = streamed(0x201n)
  stream.acknowledge(left)
  stream.pause()
  stream.resume()
  await stream.close()
  expect(done).toEqual(['acknowledge 513', 'pause', 'resume', 'close'])
})
