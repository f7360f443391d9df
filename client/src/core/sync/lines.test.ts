import { DatabaseSync } from 'node:sqlite'
import { beforeEach, expect, test } from 'vitest'
import type { BucketEntry, BucketReason, StreamEntry, SyncLine } from '../../../../protocol/lines.ts'
import type { WireOp } from '../../../../protocol/ops.ts'
import { nodeSqlite } from '../../sqlite/node.ts'
import type { Sqlite } from '../../sqlite/sqlite.ts'
import { ProblemError } from '../problem.ts'
import { positions } from '../store/incoming.ts'
import { openLayout } from '../store/layout.ts'
import { applySchema } from '../store/schema.ts'
import { Lines } from './lines.ts'
import { subscribe, subscriptions } from './streams.ts'

const row = (op: number, id: string, title = `t${op}`): WireOp => ({
  op_id: String(op),
  op: 'PUT',
  object_type: 'todos',
  object_id: id,
  subkey: '',
  checksum: op,
  data: JSON.stringify({ title }),
})
const entry = (
  bucket: string,
  ops: readonly WireOp[],
  priority = 3,
  reasons: BucketReason[] = [{ default: 0 }],
): BucketEntry => ({
  bucket,
  checksum: ops.reduce((sum, op) => sum + op.checksum, 0),
  count: ops.length,
  priority,
  subscriptions: reasons,
})
const stream = (name: string, isDefault = true, errors: StreamEntry['errors'] = []): StreamEntry => ({
  name,
  is_default: isDefault,
  errors,
})
const checkpoint = (lastOp: number, buckets: BucketEntry[], streams = [stream('all')]): SyncLine => ({
  checkpoint: { last_op_id: String(lastOp), buckets, streams },
})
const diff = (lastOp: number, updated: BucketEntry[], removed: string[] = []): SyncLine => ({
  checkpoint_diff: { last_op_id: String(lastOp), updated_buckets: updated, removed_buckets: removed },
})
const data = (bucket: string, ops: WireOp[]): SyncLine => ({
  data: { bucket, after: '0', next_after: String(ops.at(-1)?.op_id ?? 0), has_more: false, data: ops },
})
const complete = (lastOp: number): SyncLine => ({ checkpoint_complete: { last_op_id: String(lastOp) } })
const partial = (lastOp: number, priority: number): SyncLine => ({
  partial_checkpoint_complete: { last_op_id: String(lastOp), priority },
})

let db: Sqlite
let log: string[]
let lines: Lines

/** A connection. */
function connect(): void {
  const tables = applySchema(db, { tables: { todos: { columns: { title: 'text' } } } })
  log = []
  lines = new Lines({
    db,
    tables,
    subscriptions: subscriptions(db),
    now: () => 77,
    events: {
      changed: (tables) => void log.push(`changed ${[...tables].join()}`),
      begins: () => void log.push('begins'),
      progress: ({ downloaded, total }) => void log.push(`${downloaded}/${total}`),
      complete: (priority) => void log.push(`complete ${priority}`),
      mismatch: (bucket) => void log.push(`mismatch ${bucket}`),
      expires: (seconds) => void log.push(`expires ${seconds}`),
      comparing: (fraction) => void log.push(`comparing ${fraction}`),
      streams: () => {},
    },
  })
}

function feed(...all: SyncLine[]): void {
  for (const line of all) lines.line(line)
}

beforeEach(() => {
  db = nodeSqlite(new DatabaseSync(':memory:'))
  openLayout(db)
  connect()
})

const shown = (): unknown[] => db.prepare('SELECT id, title FROM todos ORDER BY id').all()
const A = [row(1, 'a'), row(2, 'b')]
const B = [row(3, 'c'), row(4, 'd'), row(5, 'e')]

test('rows appear with the checkpoint that is complete, and not before', () => {
  feed(checkpoint(5, [entry('x', A), entry('y', B)]), data('x', A), data('y', B.slice(0, 2)))
  expect(shown()).toEqual([])
  feed(data('y', B.slice(2)), complete(5))
  expect(shown().length).toBe(5)
  expect(log).toEqual(['begins', '0/5', 'comparing null', '2/5', '4/5', '5/5', 'changed todos', 'complete null'])
  expect(positions(db)).toEqual([
    { name: 'x', after: '5' },
    { name: 'y', after: '5' },
  ])
})

test('a diff changes the buckets it names, and takes those away that it removes', () => {
  feed(checkpoint(5, [entry('x', A), entry('y', B)]), data('x', A), data('y', B), complete(5))
  const more = [...A, row(6, 'a', 'new')]
  feed(diff(6, [entry('x', more)], ['y']), data('x', more.slice(2)))
  expect(shown().length).toBe(5)
  feed(complete(6))
  expect(shown()).toEqual([
    ['a', 'new'],
    ['b', 't2'],
  ])
})

test('what is urgent is shown first', () => {
  feed(checkpoint(5, [entry('x', A, 1), entry('y', B, 3)]), data('x', A), partial(5, 1))
  expect(shown().length).toBe(2)
  expect(log.slice(-2)).toEqual(['changed todos', 'complete 1'])
  feed(data('y', B), complete(5))
  expect(shown().length).toBe(5)
})

test('a bucket that does not add up is named, and downloaded again', () => {
  feed(checkpoint(5, [{ ...entry('x', A), checksum: 99 }]), data('x', A))
  expect(() => feed(complete(5))).toThrow(ProblemError)
  expect(log.at(-1)).toBe('mismatch x')
  expect(positions(db)).toEqual([{ name: 'x', after: '0' }])
})

test('a line before the first checkpoint is an error of the protocol', () => {
  for (const line of [complete(1), partial(1, 1), diff(1, [])]) {
    let code: unknown = null
    try {
      feed(line)
    } catch (error) {
      code = error instanceof ProblemError ? error.code : error
    }
    expect(code).toBe('protocol')
  }
})

test('progress goes on where a download was cut, and begins at nothing when there is nothing new', () => {
  feed(checkpoint(5, [entry('y', B)]), data('y', B.slice(0, 2)))
  connect()
  // What was in memory is gone; what was written down is not.
  feed(checkpoint(5, [entry('y', B)]))
  expect(log).toContain('0/3')
  feed(data('y', B), complete(5))
  connect()
  feed(checkpoint(5, [entry('y', B)]), complete(5))
  expect(log).toContain('0/0')
  connect()
  const more = [...B, row(6, 'f')]
  feed(checkpoint(6, [entry('y', more)]), data('y', [row(6, 'f')]))
  expect(log).toEqual(['begins', '0/1', 'comparing null', '1/1'])
})

test('a large download is written down on the way, and counts when it goes on', () => {
  const big = Array.from({ length: 40 }, (_, n) => row(n + 1, `r${n}`, 'x'.repeat(50_000)))
  feed(checkpoint(40, [entry('y', big)]), data('y', big.slice(0, 30)))
  const [position] = positions(db)
  expect(Number(position?.after)).toBe(30)
  connect()
  feed(checkpoint(40, [entry('y', big)]))
  expect(log).toContain('30/40')
  feed(data('y', big.slice(30)), complete(40))
  expect(shown().length).toBe(40)
})

test('how long the token lives, and how far a comparison is, are passed on', () => {
  lines.line({ comparing: 0.5 })
  feed({ token_expires_in: 12 }, checkpoint(0, []))
  expect(log).toEqual(['comparing 0.5', 'expires 12', 'begins', '0/0', 'comparing 0.5'])
})

test('each stream has its own progress and errors, and is synced when its buckets are shown', () => {
  const wanted = { parameters: { list: 'l1' }, priority: null, ttl: 60 }
  const one = subscribe(db, { ...wanted, name: 'items' }, 1)
  const wrong = subscribe(db, { ...wanted, name: 'items', parameters: { list: 7 } }, 1)
  const none = subscribe(db, { ...wanted, name: 'nowhere' }, 1)
  connect()
  const streams = [stream('all'), stream('items', false, [{ subscription: 1, message: 'list is no text' }])]
  const of = (id: number | null) => lines.streams().find(({ subscription }) => subscription === id)
  feed(
    checkpoint(5, [entry('x', A, 1, [{ sub: 0 }]), entry('y', B, 3, [{ default: 0 }, { sub: 0 }])], streams),
    data('x', A),
  )
  expect(of(one.id)).toEqual({
    name: 'items',
    subscription: one.id,
    active: true,
    errors: [],
    synced: false,
    progress: { downloaded: 2, total: 5, fraction: 0.4 },
  })
  expect(of(null)).toMatchObject({ name: 'all', active: true, progress: { downloaded: 0, total: 3 } })
  feed(partial(5, 1))
  expect(of(one.id)?.synced).toBe(false)
  feed(data('y', B), complete(5))
  expect([of(one.id)?.synced, of(null)?.synced]).toEqual([true, true])
  expect(of(wrong.id)).toMatchObject({ active: true, errors: ['list is no text'], synced: false })
  expect(of(none.id)).toMatchObject({ active: false, errors: [], synced: false })
  expect(subscriptions(db).map(({ syncedAt }) => syncedAt)).toEqual([77, null, null])
})

test('a stream of urgent buckets alone is synced before the others are here', () => {
  const { id } = subscribe(db, { name: 'items', parameters: null, priority: 1, ttl: 60 }, 1)
  const { id: empty } = subscribe(db, { name: 'empty', parameters: null, priority: 1, ttl: 60 }, 1)
  connect()
  const of = (wanted: number) => lines.streams().find(({ subscription }) => subscription === wanted)?.synced
  const streams = [stream('all'), stream('items', false), stream('empty', false)]
  feed(checkpoint(5, [entry('x', A, 1, [{ sub: 0 }]), entry('y', B)], streams), data('x', A), partial(5, 1))
  // Of one without buckets the whole checkpoint says that there is nothing.
  expect([of(id), of(empty)]).toEqual([true, false])
  feed(data('y', B), complete(5))
  expect([of(id), of(empty)]).toEqual([true, true])
})
