import { describe, expect, test } from 'vitest'
import { subtractChecksums } from '../../protocol/checksum.ts'
import type { WireOp } from '../../protocol/ops.ts'
import type { BucketRow } from '../../sync-config/types.ts'
import { Batch, type BatchSources, type BatchTable } from './batch.ts'
import type { RowState } from './row-state.ts'

const table: BatchTable = { number: 1, schema: 'public', name: 't' }

/** Rows go to the buckets that their column `in` names. */
function sources(stored: Map<string, RowState>, skipped: string[] = []): BatchSources {
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
    expect(subtractChecksums(batch.appends.get(1)?.checksum ?? 0, (put?.checksum ?? 0) + (remove?.checksum ?? 0))).toBe(0)
  })

  test('I5: a mailbox never goes back, in whatever order the markers commit', () => {
    const batch = new Batch(0, sources(new Map()))
    for (const n of [5, 3, 9, 9, 8]) batch.deliver('mailbox#["u","c"]', n)
    const data = (batch.appends.get(1)?.texts ?? []).map((text) => {
      const op: WireOp = JSON.parse(text)
      return op.op === 'PUT' ? op.data : ''
    })
    expect(data).toEqual(['{"id":"w","n":"5"}', '{"id":"w","n":"9"}'])
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
