import { expect, test } from 'vitest'
import { Digester, noRows, rowKey } from '../../../protocol/digest.ts'
import { randomOf } from '../../bucket/test-ops.ts'
import { subkeyOf } from '../ingest/outputs.ts'
import type { Output, RowRef } from '../store/row-state.ts'
import { Expectation, type BucketRange } from './expectation.ts'
import { rowDifferences } from './row-differences.ts'

const digester = new Digester('a key')
const table = { schema: 'public', name: 't' }
const whole = (bucket: number): BucketRange => ({
  bucket,
  name: `b${bucket}`,
  definition: 'd',
  part: 0,
  parts: 1,
  split: 1,
  list: false,
})
const output = (bucket: number, id: string, hash: string): Output => ({ bucket, type: 't', id, hash })
/** As SQLite orders texts. */
const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b))

test('rows that change while they are counted count as they are in the end, whatever their keys', () => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = randomOf(seed)
    // SQLite orders the last two of these differently from JavaScript.
    const letters = ['a', 'b', 'z', '\u{e000}', '\u{1f600}']
    const rows = new Map<string, Output[]>()
    const keyed = () =>
      JSON.stringify([Array.from({ length: 3 }, () => letters[Math.floor(random() * letters.length)]).join('')])
    const some = (key: string) =>
      [1, 2, 3].filter(() => random() < 0.5).map((bucket) => output(bucket, key, String(Math.floor(random() * 3))))
    for (let i = 0; i < 60; i++) {
      const key = keyed()
      rows.set(key, some(key))
    }
    const list: BucketRange = { ...whole(1), list: true, part: 1, parts: 2 }
    const expectation = new Expectation([whole(1), whole(2), { ...whole(2), split: 4 }, list], digester, () => table)
    const expected = expectation.all
    let after: RowRef | null = expectation.at
    for (let steps = 0; after !== null || steps < 20; steps++) {
      if (after !== null) {
        const from = after.key
        const left = [...rows.keys()].sort(byBytes).filter((key) => from === '' || byBytes(key, from) > 0)
        const next = left.slice(0, 7).map((key) => ({ ref: { t: 1, key }, outputs: rows.get(key) ?? [] }))
        expectation.count(next, left.length > 7)
        after = expectation.at
      }
      for (let i = 0; i < 3; i++) {
        const key = keyed()
        const now = random() < 0.3 ? [] : some(key)
        expectation.changes({ t: 1, key }, () => rows.get(key) ?? [], now)
        rows.set(key, now)
      }
    }
    for (const { range, sums, rows: listed } of expected) {
      const wanted = Array.from({ length: range.split }, noRows)
      const keys: string[] = []
      for (const [key, outputs] of rows) {
        for (const { bucket, type, id, hash } of outputs) {
          const text = rowKey(type, id, subkeyOf(table, key))
          const sum = bucket === range.bucket ? wanted[digester.subpartOf(text, range, range.split) ?? -1] : undefined
          if (!sum) continue
          digester.addRow(sum, text, hash, 1)
          keys.push(`${text} ${hash}`)
        }
      }
      expect(sums, `seed ${seed}`).toEqual(wanted)
      if (range.list) expect([...listed].map(([text, { hash }]) => `${text} ${hash}`).sort()).toEqual(keys.sort())
    }
  }
})

test('a row that gets an op in its bucket is known to be changed, and no other', () => {
  const expectation = new Expectation([{ ...whole(1), list: true }], digester, () => table)
  expectation.count([], false)
  const [expected] = expectation.all
  const [a, b] = ['["a"]', '["b"]']
  expectation.changes({ t: 1, key: a }, () => [output(1, 'a', 'x'), output(2, 'a', 'x')], [
    output(1, 'a', 'x'),
    output(2, 'a', 'y'),
  ])
  expect([...(expected?.changed ?? [])]).toEqual([])
  expectation.changes({ t: 1, key: b }, () => [output(1, 'b', 'x')], [])
  expect([...(expected?.changed ?? [])]).toEqual([rowKey('t', 'b', subkeyOf(table, b))])
})

test('differences of a row: each output, else the number of equal rows, else the texts that are kept of it', () => {
  const codes = (...states: Parameters<typeof rowDifferences>) =>
    rowDifferences(...states).map(({ code, bucket }) => [code, bucket])
  const state = (...outputs: Output[]) => ({ outputs, image: null })
  const known = state(output(1, 'a', 'x'), output(2, 'a', 'x'), output(3, 'a', 'x'))
  expect(codes(known, state(output(1, 'a', 'x'), output(2, 'a', 'y'), output(4, 'a', 'x')))).toEqual([
    ['row-stale', 2],
    ['row-missing', 4],
    ['row-extra', 3],
  ])
  expect(codes(known, known)).toEqual([])
  expect(codes(null, state())).toEqual([])
  expect(codes(state(output(1, 'a', 'x')), null)).toEqual([['row-extra', 1]])
  expect(codes({ ...known, copies: 3 }, known)).toEqual([['row-stale', null]])
  const image = { ...known, image: { a: 'long', b: 'longer' } }
  expect(codes(image, { ...known, image: { b: 'longer', a: 'long' } })).toEqual([])
  expect(codes(image, { ...known, image: { a: 'long', b: 'other' } })).toEqual([['row-stale', null]])
  // Not kept before it was known to be large: then it is read when it is needed.
  expect(codes(known, image)).toEqual([])
})

test('a row of a table that replaces another one stays when the same row of that one is removed', () => {
  const expectation = new Expectation([{ ...whole(1), list: true }], digester, () => table)
  const before = { t: 1, key: '["7"]' }
  const after = { t: 2, key: '["7"]' }
  const outputs = [output(1, '7', 'h')]
  expectation.count([{ ref: before, outputs }], false)
  expectation.changes(after, () => [], outputs)
  // Without a REMOVE: to the bucket it is the same row.
  expectation.changes(before, () => outputs, [])
  expect(expectation.all.map(({ sums, rows }) => [sums[0]?.rows, [...rows.values()].map(({ ref }) => ref)])).toEqual([
    [1, [after]],
  ])
})
