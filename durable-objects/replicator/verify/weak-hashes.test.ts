import { expect, test } from 'vitest'
import { Digester } from '../../../protocol/digest.ts'
import { hash64 } from '../../../protocol/hash.ts'
import { Log } from '../../bucket/log.ts'
import { page } from '../../bucket/test-ops.ts'
import { testDatabase } from '../../test-database.ts'
import { putChecksum } from '../../../protocol/op-checksum.ts'
import { Batch, type BatchPorts } from '../ingest/batch.ts'
import { weakSubkeyOf } from '../ingest/outputs.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import type { RowState } from '../store/row-state.ts'
import { opDifferences } from './bucket-differences.ts'
import { Expectation } from './expectation.ts'
import { TableCheck } from './table-check.ts'

// Before there were strong hashes, somebody wrote a text with the same weak hash as what a moderator made of it:
// Postgres has the one, the bucket the other.
const SHOWN = '{"id":"p1","text":"Insulting text. 揲塞쬇ڞ௕ᱩ笻憟"}'
const RIGHT = '{"id":"p1","text":"[removed by a moderator]"}'
const KEY = '["p1"]'
const table = { number: 1, schema: 'public', name: 'posts' } as FollowedTable

/** A verification of that row, over row state as it is stored. */
function verified(stored: RowState | null, held: string) {
  const sources: BatchPorts = {
    evaluate: (_, { text }) => ({
      rows: [{ bucket: 'b', definition: 'd', objectType: 'posts', objectId: 'p1', data: String(text) }],
      errors: [],
    }),
    states: () => new Map(stored ? [[KEY, stored]] : []),
    number: () => 1,
    skipped: () => {},
  }
  const found: string[] = []
  const batch = new Batch(10, sources)
  const check = new TableCheck({
    trial: (over) =>
      new Batch(over.counter, {
        ...sources,
        states: (of, keys) =>
          new Map(keys.flatMap((key) => (over.state(of, key) ? [[key, over.state(of, key) as RowState]] : []))),
      }),
    isIncomplete: () => false,
    bucketName: () => 'b',
    repairs: () => false,
    report: ({ code }) => void found.push(code),
  })
  check.compare(batch, table, KEY, { row: { text: RIGHT }, image: null, copies: 1 })
  const state = batch.state(table, KEY)
  const log = new Log(testDatabase())
  const op = {
    op: 'PUT' as const,
    objectType: 'posts',
    objectId: 'p1',
    subkey: weakSubkeyOf(table, KEY),
    checksum: putChecksum('posts', 'p1', held),
    data: held,
  }
  log.append({ ...page(1, op), committed: 0 })
  const unit = { bucket: 1, name: 'b', definition: 'd', part: 0, parts: 1, split: 1, list: true }
  const expectation = new Expectation([unit], new Digester('key'), () => table)
  expectation.count([{ ref: { t: 1, key: KEY }, outputs: state?.outputs ?? [] }], false)
  const answer = log.digest({ v: 2, checkpoint: 1, part: 0, parts: 1, split: 1, list: true, pass: 0, key: 'key' })
  if (answer.kind !== 'digest') throw new Error(answer.kind)
  const [expected] = expectation.all
  const differences = opDifferences(
    expected?.rows ?? new Map(),
    new Map(answer.rows.map(({ key, ...content }) => [key, content])),
  )
  return {
    ops: batch.appends.size,
    found,
    differences: differences.map(({ code }) => code),
    equal: JSON.stringify(answer.sums) === JSON.stringify(expected?.sums),
  }
}

const weak = (text: string): RowState => ({
  outputs: [{ bucket: 1, type: 'posts', id: 'p1', hash: hash64(text), weakSubkey: true }],
  image: null,
})

test('what weak hashes have hidden is found: the source is compared, row state gets strong hashes, and the bucket holds something else', () => {
  expect(hash64(SHOWN)).toBe(hash64(RIGHT))
  expect(verified(weak(SHOWN), SHOWN)).toEqual({ ops: 0, found: [], differences: ['op-stale'], equal: false })
})

test('a row with a weak hash that hides nothing is no difference', () => {
  expect(verified(weak(RIGHT), RIGHT)).toEqual({ ops: 0, found: [], differences: [], equal: true })
})

test('a weak hash of a row that was not read is compared with the weak hash of what the bucket holds', () => {
  const found = new Map([['k', { hash: 'strong', weak: hash64(RIGHT) }]])
  const ref = { t: 1, key: KEY }
  expect(opDifferences(new Map([['k', { hash: hash64(RIGHT), ref }]]), found)).toEqual([])
  expect(opDifferences(new Map([['k', { hash: hash64('other'), ref }]]), found)).toMatchObject([{ code: 'op-stale' }])
})
