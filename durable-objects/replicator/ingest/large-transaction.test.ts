import { expect, test } from 'vitest'
import { MemoryDatabase, type MemoryChange } from '../../../sources/memory/database.ts'
import { openMemoryStream, type MemoryPlace, type MemoryPosition } from '../../../sources/memory/stream.ts'
import { MemoryTable } from '../../../sources/memory/table.ts'
import type { SourceStream, StreamedTo } from '../../../sources/source.ts'
import { Batch } from './batch.ts'
import type { FollowedTable } from './followed-table.ts'
import { Intake } from './intake.ts'
import type { Flush, IntakePorts, LeftTransaction } from './intake-ports.ts'
import { PASSED_COST, type Leaving } from './transaction-limit.ts'

// Transactions that are larger than a session, of a source in memory.

const DOCS = { schema: 'public', name: 'docs', columns: ['id'], key: ['id'] }
const UNREAD = { ...DOCS, name: 'unread' }
const insert = (id: number, table = DOCS): MemoryChange => ({ op: 'insert', table, row: { id: String(id) } })
const rows = (count: number, table = DOCS) => Array.from({ length: count }, (_, n) => insert(n, table))

interface Session {
  intake: Intake
  stream: SourceStream
  flushes: Flush[]
  left: LeftTransaction[]
  /** Ids of rows that were taken in. */
  taken: string[]
}

/** A session whose stream has come to its end. */
async function session(database: MemoryDatabase, at: StreamedTo, ports: Partial<IntakePorts> = {}): Promise<Session> {
  database.kept ??= 0
  const source = new MemoryTable(DOCS)
  const table: FollowedTable = { number: 1, schema: 'public', name: 'docs', source }
  const flushes: Flush[] = []
  const left: LeftTransaction[] = []
  const taken: string[] = []
  const newBatch = () =>
    new Batch(0, {
      evaluate: (_, { id }) => {
        taken.push(String(id))
        return {
          rows: [{ bucket: 'all', definition: 'd', objectType: 'docs', objectId: String(id), data: '{}' }],
          errors: [],
        }
      },
      states: () => new Map(),
      number: () => 1,
      skipped: () => {},
    })
  const intake = new Intake([table], at, {
    sliceChanges: 1_000,
    newBatch,
    store: (flush) => flushes.push(flush),
    left: (transaction) => left.push(transaction),
    hasIncomplete: () => false,
    isIncomplete: () => false,
    hasImages: () => true,
    keys: () => [],
    marker: () => [],
    deliver: () => {},
    room: () => true,
    unexpected: () => {},
    ...ports,
  })
  const stream = openMemoryStream({
    database,
    tables: [source],
    at,
    sink: (event, bytes) => intake.event(event, bytes),
  })
  stream.ended.catch(() => {})
  await new Promise((resolve) => setTimeout(resolve, 5))
  return { intake, stream, flushes, left, taken }
}

const START: StreamedTo = { position: null, place: null }
/** Says so at the event of this number, from 1. */
function limit(why: Leaving, at: number) {
  let events = 0
  const event = () => (++events === at ? why : null)
  return { begin: () => {}, passed: event, taken: event, waits: false }
}
const positionOf = (flush: Flush | undefined) => flush?.position as MemoryPosition | null | undefined
const eventsOf = (flush: Flush | undefined) => (flush?.place as MemoryPlace | null | undefined)?.events

test('the work of a session: each change that is taken in, and its part of each that passes', async () => {
  const database = new MemoryDatabase('app', [DOCS, UNREAD])
  database.commit(...rows(2), ...rows(3, UNREAD), ...rows(4))
  const first = await session(database, START)
  expect([first.intake.changes, first.intake.passed, first.intake.work]).toEqual([6, 3, 6 + 3 * PASSED_COST])
  const place: MemoryPlace = { n: 1, id: database.transaction(1)?.id ?? '', events: 4 }
  const second = await session(database, { position: null, place })
  expect([second.intake.changes, second.intake.passed, second.intake.work]).toEqual([4, 5, 4 + 5 * PASSED_COST])
  second.intake.placed = 7
  expect(second.intake.work).toBe(11 + 5 * PASSED_COST)
  const third = await session(database, { position: { n: 1, id: place.id }, place: null })
  expect([third.intake.changes, third.intake.passed]).toEqual([0, 9])
})

test('what a session has of a large transaction when it ends is stored, and the next one goes on behind it', async () => {
  const database = new MemoryDatabase('app', [DOCS])
  database.commit(...rows(5))
  database.misbehaviour.endsAfter = 4
  const first = await session(database, START)
  expect(first.flushes).toEqual([])
  first.intake.cut()
  first.intake.cut()
  expect(first.flushes.map(eventsOf)).toEqual([3])
  const second = await session(database, { position: null, place: first.flushes[0]?.place ?? null })
  second.intake.flush()
  second.intake.cut()
  expect([...first.taken, ...second.taken]).toEqual(['0', '1', '2', '3', '4'])
  expect(second.flushes.map(positionOf)).toEqual([{ n: 1, id: database.transaction(1)?.id }])
})

test('a transaction that is left behind: what came before it is stored, what is taken in of it and behind it is not', async () => {
  const database = new MemoryDatabase('app', [DOCS])
  database.commit(insert(100))
  database.commit(...rows(5))
  database.commit(insert(200))
  const first = await session(database, START, { limit: limit('rows', 4) })
  first.intake.flush()
  first.intake.cut()
  first.intake.resume()
  const id = database.transaction(2)?.id
  expect(first.flushes.map(positionOf)).toEqual([{ n: 1, id: database.transaction(1)?.id }])
  expect(first.left.map(({ why, whole, position }) => ({ why, whole, position }))).toEqual([
    { why: 'rows', whole: false, position: { n: 2, id, beyond: true } },
  ])
  expect(first.left[0]?.batch.changes).toBe(0)
  expect([first.taken, first.intake.isBetween, first.intake.held]).toEqual([['100'], false, 0])
  await first.stream.close()
  const second = await session(database, { position: first.left[0]?.position ?? null, place: null })
  await expect(second.stream.ended).rejects.toMatchObject({ code: 'ROCKPOOL_SOURCE_UNREACHABLE' })
  const third = await session(database, { position: first.left[0]?.position ?? null, place: null })
  third.intake.flush()
  expect([third.taken, third.intake.passed]).toEqual([['200'], 0])
})

test('one that is stored whole is left behind at what is stored, however old it is', async () => {
  const database = new MemoryDatabase('app', [DOCS])
  database.commit(...rows(5))
  database.commit(insert(100))
  const position = { n: 2, id: database.transaction(2)?.id ?? '' }
  const { left, flushes } = await session(database, { position, place: null }, { limit: limit('starts', 2) })
  expect(left.map(({ whole, position: at }) => [whole, at])).toEqual([[true, { ...position, beyond: true }]])
  expect(flushes).toEqual([])
})

test('the first new row behind what passed waits for room, and what comes behind it', async () => {
  const database = new MemoryDatabase('app', [DOCS])
  database.commit(...rows(3))
  const waiting = { ...limit('rows', 0), waits: true }
  const { intake, taken, flushes } = await session(database, START, { limit: waiting, room: () => !waiting.waits })
  expect([taken, intake.busy, intake.held]).toEqual([[], true, 3])
  waiting.waits = false
  intake.resume()
  intake.flush()
  expect([taken, flushes.map(positionOf)]).toEqual([['0', '1', '2'], [{ n: 1, id: database.transaction(1)?.id }]])
})
