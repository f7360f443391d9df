import { describe, expect, test } from 'vitest'
import { subtractChecksums } from '../../../protocol/checksum.ts'
import type { WireOp } from '../../../protocol/ops.ts'
import { EvaluationFailure } from '../../../sync-config/index.ts'
import type { BucketRow } from '../../../sync-config/types.ts'
import { hash64 } from '../../../protocol/hash.ts'
import { strongHash } from '../../../protocol/strong-hash.ts'
import { migrate } from '../../shared/database.ts'
import { testDatabase } from '../../test-database.ts'
import { Batch, type BatchPorts, type BatchTable } from './batch.ts'
import { subkeyOf, weakSubkeyOf } from './outputs.ts'
import { RowStates, type RowState } from '../store/row-state.ts'
import { MIGRATIONS } from '../store/storage.ts'

// The file is long because its tests share one evaluator and one store of row states.

const table: BatchTable = { number: 1, schema: 'public', name: 't' }

/** Rows go to the buckets that their column `in` names. */
function sources(stored: Map<string, RowState>, skipped: string[] = []): BatchPorts {
  const numbers = new Map<string, number>()
  return {
    evaluate: (_, row) => {
      const buckets = String(row.in ?? '')
        .split(',')
        .filter(Boolean)
      const rows: BucketRow[] = buckets.map((bucket) => ({
        bucket,
        definition: 'd',
        objectType: 't',
        objectId: String(row.id),
        data: JSON.stringify(row),
      }))
      return { rows, errors: [] }
    },
    states: (_, keys) => new Map([...stored].filter(([key]) => keys.includes(key))),
    number: (bucket) => numbers.get(bucket) ?? (numbers.set(bucket, numbers.size + 1), numbers.size),
    skipped: (_, key, reason) => void skipped.push(`${key} ${reason}`),
  }
}

function keep(batch: Batch, stored: Map<string, RowState>): void {
  for (const [key, state] of batch.rows.get(table.number)?.states ?? []) {
    if (state) stored.set(key, state)
    else stored.delete(key)
  }
}

const opsOf = (batch: Batch): [number, string, string][] =>
  [...batch.appends]
    .flatMap(([bucket, append]) => append.texts.map((text) => [bucket, JSON.parse(text)] as [number, WireOp]))
    .sort(([, a], [, b]) => Number(a.op_id) - Number(b.op_id))
    .map(([bucket, op]) => [bucket, op.op, op.op_id])

describe('a batch', () => {
  test('a row that cannot be evaluated is told and removed from its buckets, and the next one is taken in', () => {
    const stored = new Map<string, RowState>()
    const skipped: string[] = []
    const usual = sources(stored, skipped)
    const first = new Batch(0, usual)
    for (const id of ['1', '2']) first.upsert(table, `["${id}"]`, { id, in: 'a,b' }, null)
    keep(first, stored)
    const evaluate: BatchPorts['evaluate'] = (of, row) => {
      if (row.bad === 1) throw new EvaluationFailure('it is too much')
      if (row.bad === 2) throw new Error('a fault of ours')
      return usual.evaluate(of, row)
    }
    const second = new Batch(first.counter, { ...usual, evaluate })
    second.upsert(table, '["1"]', { id: '1', in: 'a,b', bad: 1 }, null)
    second.upsert(table, '["2"]', { id: '2', in: 'a,b', n: 7 }, null)
    expect(opsOf(second).map(([bucket, op]) => [bucket, op])).toEqual([
      [1, 'REMOVE'],
      [2, 'REMOVE'],
      [1, 'PUT'],
      [2, 'PUT'],
    ])
    expect(skipped).toEqual(['["1"] public.t: it is too much'])
    expect(() => second.upsert(table, '["1"]', { id: '1', in: 'a', bad: 2 }, null)).toThrow('a fault of ours')
  })

  test('what is so for every row of a table is told without the key of one', () => {
    const skipped: string[] = []
    const errors = [
      { where: 'q', message: 'one' },
      { where: 'q', message: 'all', everyRow: true as const },
    ]
    const batch = new Batch(0, { ...sources(new Map(), skipped), evaluate: () => ({ rows: [], errors }) })
    batch.upsert(table, '["1"]', { x: '1' }, null)
    expect(skipped).toEqual(['["1"] q: one', 'null q: all'])
  })

  test('what is stored of a row fits into a row of SQLite: many long ids are too much, and an image beside them is left out', () => {
    const skipped: string[] = []
    const usual = sources(new Map(), skipped)
    const batch = new Batch(0, {
      ...usual,
      evaluate: (of, row) => {
        const { rows } = usual.evaluate(of, row)
        return {
          rows: rows.map((each) => ({
            ...each,
            objectId: `${each.bucket}${'ü'.repeat(Number(row.long))}`,
            data: '{}',
          })),
          errors: [],
        }
      },
    })
    const many = Array.from({ length: 1_000 }, (_, i) => `b${i}`).join()
    const image = { text: 'x'.repeat(1_700_000) }
    const rows = { few: 100, some: 450, much: 700 }
    for (const [key, long] of Object.entries(rows)) batch.upsert(table, `["${key}"]`, { in: many, long }, image)
    const state = (key: string) => batch.state(table, `["${key}"]`)
    expect(Object.keys(rows).map((key) => [state(key)?.outputs.length, state(key)?.image === null])).toEqual([
      [1_000, false],
      [1_000, true],
      [0, false],
    ])
    expect(skipped).toEqual(['["much"] what is kept of it in 1000 buckets is larger than 1000000 bytes of JSON'])
    const db = testDatabase()
    migrate(db, MIGRATIONS)
    new RowStates(db).put(batch.rows.values())
    const [sizes] = db.all(
      'SELECT max(octet_length(outputs) + coalesce(octet_length(image), 0)) AS bytes, count(*) AS n FROM rows',
    )
    expect(sizes?.n).toBe(3)
    expect(Number(sizes?.bytes)).toBeGreaterThan(1_000_000)
    expect(Number(sizes?.bytes)).toBeLessThan(2_000_000)
  })

  test('I1: what a change emits is the difference to what the row had put into the buckets, with increasing ids', () => {
    const stored = new Map<string, RowState>()
    const s = sources(stored)
    const first = new Batch(10, s)
    first.upsert(table, '["1"]', { id: '1', in: 'a,b' }, null)
    first.upsert(table, '["2"]', { id: '2', in: '' }, null)
    expect(opsOf(first)).toEqual([
      [1, 'PUT', '11'],
      [2, 'PUT', '12'],
    ])
    keep(first, stored)
    expect([...stored.keys()]).toEqual(['["1"]'])

    const second = new Batch(first.counter, s)
    second.upsert(table, '["1"]', { id: '1', in: 'b,c' }, null)
    // Data changed (`in` is part of it): b gets it again; a loses it; c is new. Removed first.
    expect(opsOf(second)).toEqual([
      [1, 'REMOVE', '13'],
      [2, 'PUT', '14'],
      [3, 'PUT', '15'],
    ])
    keep(second, stored)

    const third = new Batch(second.counter, s)
    third.upsert(table, '["1"]', { id: '1', in: 'b,c' }, null)
    expect(opsOf(third)).toEqual([])
    expect(third.rows.size).toBe(0)
    third.remove(table, '["1"]')
    third.remove(table, '["1"]')
    expect(opsOf(third)).toEqual([
      [2, 'REMOVE', '16'],
      [3, 'REMOVE', '17'],
    ])
  })

  test('a row that was put and removed in one batch leaves nothing; its REMOVE has the subkey of its PUT', () => {
    const batch = new Batch(0, sources(new Map()))
    batch.upsert(table, '["1"]', { id: '1', in: 'a' }, null)
    batch.remove(table, '["1"]')
    const [put, remove] = (batch.appends.get(1)?.texts ?? []).map((text): WireOp => JSON.parse(text))
    expect(put && 'subkey' in put ? put.subkey : 1).toBe(remove && 'subkey' in remove ? remove.subkey : 2)
    expect([...(batch.rows.get(table.number)?.states.values() ?? [])]).toEqual([null])
    expect(subtractChecksums(batch.appends.get(1)?.checksum ?? 0, (put?.checksum ?? 0) + (remove?.checksum ?? 0))).toBe(
      0,
    )
  })

  /** What an older version has put into bucket `a`, 1: a weak hash, and ops under a weak subkey. */
  const older = (row: object): RowState => ({
    outputs: [{ bucket: 1, type: 't', id: '1', hash: hash64(JSON.stringify(row)), weakSubkey: true }],
    image: null,
  })
  const written = (batch: Batch) =>
    [...batch.appends.values()]
      .flatMap(({ texts }) => texts)
      .map((text) => {
        const op: WireOp = JSON.parse(text)
        return [op.op, 'subkey' in op ? op.subkey : null]
      })
  const [strong, weak] = [subkeyOf(table, '["1"]'), weakSubkeyOf(table, '["1"]')]

  test('a weak hash of an older version never says that a row which has changed is the same', () => {
    const row = { id: '1', in: 'a' }
    const stored = new Map([['["1"]', older(row)]])
    const batch = new Batch(0, sources(stored))
    batch.upsert(table, '["1"]', row, null)
    expect(written(batch)).toEqual([['PUT', weak]])
    keep(batch, stored)
    expect(stored.get('["1"]')?.outputs).toMatchObject([{ hash: strongHash(JSON.stringify(row)), weakSubkey: true }])
    const again = new Batch(1, sources(stored))
    again.upsert(table, '["1"]', row, null)
    expect([written(again), again.rows.size]).toEqual([[], 0])
  })

  test('a row that is only read again needs no op, and has a strong hash from then on; it needs one if it differs', () => {
    const row = { id: '1', in: 'a' }
    const stored = new Map([['["1"]', older(row)]])
    const batch = new Batch(0, sources(stored))
    batch.upsert(table, '["1"]', row, null, 1, 'read')
    expect(written(batch)).toEqual([])
    keep(batch, stored)
    expect(stored.get('["1"]')?.outputs).toMatchObject([{ hash: strongHash(JSON.stringify(row)), weakSubkey: true }])
    const other = new Batch(1, sources(new Map([['["1"]', older({ ...row, n: 1 })]])))
    other.upsert(table, '["1"]', row, null, 1, 'read')
    expect(written(other)).toEqual([['PUT', weak]])
  })

  test('a row that an older version has put into a bucket keeps its subkey there until it goes; elsewhere it has a strong one', () => {
    const stored = new Map([['["1"]', older({ id: '1', in: 'a' })]])
    const steps: [string, unknown[]][] = [
      [
        'a,b',
        [
          ['PUT', weak],
          ['PUT', strong],
        ],
      ],
      [
        'b',
        [
          ['REMOVE', weak],
          ['PUT', strong],
        ],
      ],
      [
        'a,b',
        [
          ['PUT', strong],
          ['PUT', strong],
        ],
      ],
      [
        '',
        [
          ['REMOVE', strong],
          ['REMOVE', strong],
        ],
      ],
    ]
    for (const [buckets, ops] of steps) {
      const batch = new Batch(0, sources(stored))
      // Numbers of buckets as they were.
      for (const name of ['a', 'b']) batch.upsert(table, `["${name}"]`, { id: name, in: name }, null)
      const before = batch.appends.get(1)?.texts.length ?? 0
      batch.upsert(table, '["1"]', { id: '1', in: buckets }, null)
      const own = [1, 2]
        .flatMap((n) => (batch.appends.get(n)?.texts ?? []).slice(before))
        .map((text): WireOp => JSON.parse(text))
      expect(
        own.map((op) => [op.op, 'subkey' in op ? op.subkey : null]),
        buckets,
      ).toEqual(ops)
      keep(batch, stored)
      for (const name of ['a', 'b']) stored.delete(`["${name}"]`)
    }
    expect(stored.get('["1"]')?.outputs).toEqual([])
  })

  test('a table that replaces another one: its row under a strong subkey takes the place of one under a weak subkey, which goes', () => {
    const successor = { ...table, number: 2 }
    const s = sources(new Map())
    const states = (asked: BatchTable) => new Map(asked.number === 1 ? [['["1"]', older({ id: '1', in: 'a' })]] : [])
    const batch = new Batch(0, { ...s, states })
    batch.upsert(successor, '["1"]', { id: '1', in: 'a' }, null)
    batch.remove(table, '["1"]', successor)
    expect(written(batch)).toEqual([
      ['PUT', strong],
      ['REMOVE', weak],
    ])
  })

  test('I5: a mailbox never goes back, in whatever order the markers commit', () => {
    const batch = new Batch(0, sources(new Map()))
    for (const n of [5, 3, 9, 9, 8]) batch.deliver('u', 'c', BigInt(n))
    const data = (batch.appends.get(1)?.texts ?? []).map((text) => {
      const op: WireOp = JSON.parse(text)
      return op.op === 'PUT' ? op.data : ''
    })
    expect(data).toEqual(['{"id":"c","n":"5"}', '{"id":"c","n":"9"}'])
  })

  test('a row that is too large is skipped with its key and reason, and what it had put before is removed', () => {
    const skipped: string[] = []
    const stored = new Map<string, RowState>()
    const s = sources(stored, skipped)
    const first = new Batch(0, s)
    first.upsert(table, '["1"]', { id: '1', in: 'a' }, null)
    keep(first, stored)
    const second = new Batch(first.counter, s)
    second.upsert(table, '["1"]', { id: '1', in: 'a', text: 'x'.repeat(2_000_000) }, null)
    expect(opsOf(second)).toEqual([[1, 'REMOVE', '2']])
    expect(skipped[0]).toMatch(/^\["1"\] a: the row is larger than/)
  })
})
