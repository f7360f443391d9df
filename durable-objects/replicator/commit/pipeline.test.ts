import { describe, expect, test } from 'vitest'
import { testDatabase } from '../../test-database.ts'
import { migrate } from '../../shared/database.ts'
import type { Append } from '../ingest/batch.ts'
import { gapFrame, noticeFrames } from './notice.ts'
import { Outbox, type StoredAppend, type StoredBatch } from '../store/outbox.ts'
import { Pipeline, NAMED_BUCKETS } from './pipeline.ts'
import { MIGRATIONS } from '../store/storage.ts'

// The file is long because batches are followed through one set of stand-ins.

function outbox(db = testDatabase()): { outbox: Outbox; db: ReturnType<typeof testDatabase> } {
  migrate(db, MIGRATIONS)
  return { outbox: new Outbox(db, 0), db }
}

const append = (first: number, ...texts: string[]): Append => ({
  first,
  last: first + texts.length - 1,
  count: texts.length,
  checksum: first,
  texts,
})
/** All that is not committed, read one by one. */
function recovered(box: Outbox): StoredBatch[] {
  const { first, last } = box.open ?? { first: 1, last: 0 }
  return Array.from({ length: last - first + 1 }, (_, i) => box.read(first + i))
}
const decode = { n: 1, counter: 0, position: null, partial: null }
const state = (last: number) => ({ count: last, checksum: last, last })

describe('the pipeline', () => {
  function setUp() {
    const sent: [number, number][] = []
    const skipped = new Set<number>()
    const { outbox: box } = outbox()
    const pipeline = new Pipeline({
      send: (a: StoredAppend, b: StoredBatch) => void sent.push([a.bucket, b.id]),
      name: (bucket) => `h${bucket}`,
      skips: (bucket) => skipped.has(bucket),
      read: (id) => box.read(id),
    })
    let last = 0
    const batch = (final: boolean, ...buckets: number[]): StoredBatch => {
      const appends = new Map(buckets.map((bucket) => [bucket, append(++last, `op${last}`)]))
      return box.add({ last, final, plan: 'p', decode, appends })
    }
    return { sent, skipped, pipeline, batch }
  }

  test('appends are in order per bucket, one at a time, and in parallel over buckets', () => {
    const { sent, pipeline, batch } = setUp()
    pipeline.dispatch(batch(true, 1, 2))
    pipeline.dispatch(batch(true, 2, 3))
    expect(sent).toEqual([
      [1, 1],
      [2, 1],
      [3, 2],
    ])
    pipeline.answered(2, state(2))
    expect(sent.at(-1)).toEqual([2, 2])
  })

  test('appends in flight to a bucket are dropped: they are neither awaited nor announced, and others continue', () => {
    const { sent, skipped, pipeline, batch } = setUp()
    pipeline.dispatch(batch(false, 1, 2))
    pipeline.dispatch(batch(true, 1, 3))
    pipeline.answered(2, state(2))
    pipeline.answered(3, state(4))
    expect(pipeline.commit(0)).toBeNull()
    skipped.add(1)
    pipeline.drop(1)
    expect(pipeline.commit(0)).toMatchObject({
      checkpoint: 4,
      upTo: 2,
      buckets: [
        ['h2', 2, 2, 2, 'op2'],
        ['h3', 4, 4, 4, 'op4'],
      ],
    })
    expect([pipeline.appends, pipeline.length, pipeline.unanswered]).toEqual([0, 0, 0])
    // Also what is stored, and comes to memory later.
    pipeline.dispatch(batch(true, 1))
    expect(pipeline.commit(4)).toMatchObject({ checkpoint: 5, buckets: [] })
    expect(sent.filter(([bucket]) => bucket === 1)).toEqual([[1, 1]])
    skipped.clear()
    pipeline.dispatch(batch(true, 1))
    expect(sent.at(-1)).toEqual([1, 4])
  })

  test('I2: nothing is committed before every bucket of it and of everything older has answered', () => {
    const { pipeline, batch } = setUp()
    pipeline.dispatch(batch(true, 1))
    pipeline.dispatch(batch(true, 2))
    pipeline.answered(2, state(2))
    expect(pipeline.commit(0)).toBeNull()
    pipeline.answered(1, state(1))
    expect(pipeline.commit(0)).toMatchObject({ checkpoint: 2, previous: 0, upTo: 2 })
    expect(pipeline.size).toBe(0)
  })

  test('I4: slices wait for their last one, also when that has no ops; they do not count as unanswered', () => {
    const { pipeline, batch } = setUp()
    for (const slice of [batch(false, 1), batch(false, 1, 2)]) pipeline.dispatch(slice)
    expect(pipeline.openGroup).toBe(true)
    expect(pipeline.unanswered).toBe(2)
    for (const bucket of [1, 1, 2]) pipeline.answered(bucket, state(bucket))
    expect(pipeline.unanswered).toBe(0)
    expect(pipeline.commit(0)).toBeNull()
    pipeline.dispatch(batch(true))
    const commit = pipeline.commit(0)
    expect(commit?.checkpoint).toBe(3)
    expect(commit?.buckets?.map(([name, , , , ops]) => [name, ops])).toEqual([
      ['h1', 'op1,op2'],
      ['h2', 'op3'],
    ])
  })

  test('large ops are not in the notice, and a large notice is sent in numbered parts', () => {
    const { pipeline } = setUp()
    const { outbox: box } = outbox()
    const appends = new Map(
      Array.from({ length: 9_000 }, (_, i) => [i + 1, append(i + 1, i === 0 ? 'x'.repeat(20_000) : 'y')]),
    )
    pipeline.dispatch(box.add({ last: 9_000, final: true, plan: null, decode, appends }))
    for (const bucket of appends.keys()) pipeline.answered(bucket, state(bucket))
    const commit = pipeline.commit(0)
    expect(commit?.buckets?.[0]?.[4]).toBeNull()
    const frames = commit
      ? noticeFrames(commit).map((text): { part: number; parts: number; buckets: unknown[] } => JSON.parse(text))
      : []
    expect(frames.length).toBeGreaterThan(1)
    expect(frames.map((frame) => [frame.part, frame.parts])).toEqual(frames.map((_, i) => [i + 1, frames.length]))
    expect(frames.reduce((sum, frame) => sum + frame.buckets.length, 0)).toBe(9_000)
  })
})

describe('a large transaction', () => {
  /** `slices` of one op in each of the buckets, stored and not sent. */
  function stored(slices: number, buckets: number) {
    const { outbox: box, db } = outbox()
    let last = 0
    for (let slice = 1; slice <= slices; slice++) {
      const appends = new Map(Array.from({ length: buckets }, (_, i) => [i + 1, append(++last, `op${last}`)]))
      box.add({ last, final: slice === slices, plan: 'p', decode, appends, answered: slice - 2 })
    }
    const sent: StoredAppend[] = []
    const reads: number[] = []
    const pipeline = new Pipeline({
      send: (each) => void sent.push(each),
      name: (bucket) => `h${bucket}`,
      skips: () => false,
      read: (id) => (reads.push(id), box.read(id)),
    })
    return { box, db, sent, reads, pipeline }
  }

  test('is sent in a window of batches: others are read when there is room', () => {
    const { box, sent, reads, pipeline } = stored(5, 6_000)
    const newest = box.newest()
    if (!newest) throw new Error('nothing is stored')
    pipeline.recover(0, newest, 0)
    expect([reads, pipeline.unanswered, pipeline.size, pipeline.openGroup]).toEqual([[1, 2], 5, 5, false])
    // One that is stored meanwhile waits for its turn.
    pipeline.dispatch(
      box.add({ last: 30_001, final: true, plan: 'q', decode, appends: new Map([[1, append(30_001, 'x')]]) }),
    )
    expect([reads, pipeline.unanswered, pipeline.size]).toEqual([[1, 2], 6, 6])
    for (let each = sent.shift(); each; each = sent.shift()) pipeline.answered(each.bucket, state(each.last))
    expect(reads).toEqual([1, 2, 3, 4, 5, 6])
    const commit = pipeline.commit(0)
    expect([commit?.checkpoint, commit?.plan, commit?.buckets?.length, pipeline.size]).toEqual([30_001, 'q', 6_000, 0])
  })

  test('after a restart only the unanswered slices are sent again, and the commit is announced by a gap', () => {
    const { box, sent, reads, pipeline } = stored(9, 3)
    const newest = box.newest()
    if (!newest) throw new Error('nothing is stored')
    expect([newest.answered, newest.ofOlder]).toEqual([7, false])
    pipeline.recover(0, newest, newest.answered)
    expect(reads).toEqual([7, 8, 9])
    for (let each = sent.shift(); each; each = sent.shift()) pipeline.answered(each.bucket, state(each.last))
    const commit = pipeline.commit(5)
    expect(commit).toEqual({ checkpoint: 27, previous: 5, plan: 'p', buckets: null, upTo: 9 })
    expect(commit && noticeFrames(commit)).toEqual([gapFrame(27, 'p')])
  })

  test(`that touches more than ${NAMED_BUCKETS} buckets is announced by a gap, and so are joined commits of as many`, () => {
    const { outbox: box } = outbox()
    const pipeline = new Pipeline({ send: () => {}, name: String, skips: () => false, read: (id) => box.read(id) })
    const batch = (last: number, final: boolean, from: number, buckets: number) => {
      const appends = new Map(Array.from({ length: buckets }, (_, i) => [from + i, append(last, 'x')]))
      return box.add({ last, final, plan: null, decode, appends })
    }
    const answers = (from: number, buckets: number) => {
      for (let i = 0; i < buckets; i++) pipeline.answered(from + i, state(1))
    }
    // Each by itself is told.
    for (const [last, from] of [
      [1, 1],
      [2, 10_001],
    ] as const) {
      pipeline.dispatch(batch(last, true, from, 10_000))
      answers(from, 10_000)
      expect(pipeline.commit(0)?.buckets).toHaveLength(10_000)
    }
    // While one bucket of the first does not answer those after it become one, and too many.
    pipeline.dispatch(batch(3, true, 99_999, 1))
    for (const [last, from] of [
      [4, 1],
      [5, 10_001],
    ] as const) {
      pipeline.dispatch(batch(last, true, from, 10_000))
      answers(from, 10_000)
    }
    answers(99_999, 1)
    expect(pipeline.commit(0)).toMatchObject({ checkpoint: 5, buckets: null })
  })
})

describe('the outbox', () => {
  test('I6: batches of any size and any characters are read exactly after a crash', () => {
    const { outbox: box, db } = outbox()
    const texts = Array.from({ length: 40 }, (_, i) => `{"op_id":"${i + 1}","x":"${'🌊ü'.repeat(9_000)}"}`)
    const stored = [
      box.add({
        last: 20,
        final: false,
        plan: null,
        decode,
        appends: new Map([[7, append(1, ...texts.slice(0, 20))]]),
      }),
      box.add({
        last: 40,
        final: true,
        plan: 'p',
        decode,
        appends: new Map([
          [7, append(21, ...texts.slice(20, 30))],
          [8, append(31, ...texts.slice(30))],
        ]),
      }),
    ]
    const plain = (batches: StoredBatch[]) =>
      batches.map((batch) => ({ ...batch, appends: batch.appends.map((a) => ({ ...a, body: a.body() })) }))
    expect(plain(recovered(new Outbox(db, 0)))).toEqual(plain(stored))
    const dropped = stored[0]?.id ?? 0
    expect(plain(recovered(new Outbox(db, dropped)))).toEqual(plain(stored.slice(1)))
    // What was dropped is written over, and what was not is not.
    const after = new Outbox(db, dropped)
    stored.push(
      after.add({
        last: 41,
        final: true,
        plan: 'p',
        decode,
        appends: new Map([[7, append(41, 'x'.repeat(1_200_000))]]),
      }),
    )
    expect(plain(recovered(new Outbox(db, dropped)))).toEqual(plain(stored.slice(1)))
  })

  test('batches that were stored by older code are read, with the parts and places of that time', () => {
    const { db } = outbox()
    const bodies = ['a'.repeat(700_000), 'ü€'.repeat(300_000), '{}']
    const appends = bodies.map((body, i) => [i + 1, i + 1, i + 1, 1, 9, body.length])
    const text = `${JSON.stringify({ last: 3, final: false, plan: 'p', decode, appends })}\n${bodies.join('')}`
    const slots = [5, 40, 17, 1]
    for (const [part, slot] of slots.entries()) {
      db.run(
        'INSERT INTO outbox_slots VALUES (?, ?, ?, ?)',
        slot,
        8,
        part,
        text.slice(part * 500_000, (part + 1) * 500_000),
      )
    }
    db.run('INSERT INTO outbox_slots VALUES (2, 7, 0, ?)', 'committed long ago')
    const box = new Outbox(db, 7)
    expect([box.open, box.newest()]).toEqual([
      { first: 8, last: 8 },
      { id: 8, final: false, plan: 'p', decode, answered: 7, ofOlder: true },
    ])
    const read = (indices: number[]) => {
      const { appends: each } = box.read(8)
      return indices.map((at) => each[at]?.body() === bodies[at])
    }
    // Backwards, too: a bucket may be late.
    expect([read([0, 1, 2]), read([2, 1, 0])]).toEqual([
      [true, true, true],
      [true, true, true],
    ])
    expect(box.add({ last: 4, final: true, plan: 'p', decode, appends: new Map([[1, append(4, 'x')]]) }).id).toBe(9)
    expect(db.all('SELECT slot FROM outbox_slots WHERE batch = 9')).toEqual([{ slot: 2 }])
  })

  const changes = (db: ReturnType<typeof testDatabase>) => Number(db.all('SELECT total_changes() AS n')[0]?.n)
  const slots = (db: ReturnType<typeof testDatabase>) => Number(db.all('SELECT count(*) AS n FROM outbox_slots')[0]?.n)

  test('a small batch writes one row, and none when it is dropped; slots are reused', () => {
    const { outbox: box, db } = outbox()
    const before = changes(db)
    for (let n = 1; n <= 100; n++) {
      const appends = new Map([
        [1, append(3 * n - 2, 'a', 'b')],
        [2, append(3 * n, 'c')],
      ])
      const { id } = box.add({ last: 3 * n, final: true, plan: null, decode, appends })
      if (n % 4 === 0) box.drop(id)
    }
    expect(changes(db) - before).toBe(100)
    expect(slots(db)).toBe(4)
  })

  test('a large transaction frees its slots, and ids continue after what was dropped', () => {
    const { outbox: box, db } = outbox()
    const large = (last: number) =>
      box.add({ last, final: false, plan: null, decode, appends: new Map([[1, append(last, 'x'.repeat(1_100_000))]]) })
    const ids = Array.from({ length: 10 }, (_, i) => large(i + 1).id)
    expect(slots(db)).toBe(30)
    box.drop(ids[4] ?? 0)
    expect(slots(db)).toBe(30)
    box.drop(ids[9] ?? 0)
    expect(slots(db)).toBe(16)
    const next = new Outbox(db, ids[9] ?? 0)
    expect(next.open).toBeNull()
    expect(next.newest()).toBeNull()
    expect(next.add({ last: 11, final: true, plan: null, decode, appends: new Map() }).id).toBe(11)
    expect(slots(db)).toBe(16)
  })
})
