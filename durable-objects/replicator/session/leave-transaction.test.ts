import { expect, test } from 'vitest'
import { MemoryTable } from '../../../sources/memory/table.ts'
import { memoryKind } from '../../../sources/memory/memory-source.ts'
import { MemoryDatabase } from '../../../sources/memory/database.ts'
import { testDatabase } from '../../test-database.ts'
import type { ToCommit } from '../commit/committer.ts'
import { Batch } from '../ingest/batch.ts'
import type { LeftTransaction } from '../ingest/intake-ports.ts'
import { isDoubtful } from '../copy/copy-state.ts'
import { Store } from '../store/store.ts'
import { leaveTransaction } from './leave-transaction.ts'

const nothing = () => {
  throw new Error('a transaction that is left behind makes no op')
}
const batch = () => new Batch(7, { evaluate: nothing, states: nothing, number: nothing, skipped: nothing })
const position = { n: 3, id: 'app-3', beyond: true }

function world(fails = false) {
  const db = testDatabase()
  let reset = 0
  const store = new Store(db, { reset: () => void reset++, reads: () => true })
  const names = ['docs', 'notes'].map((name) => ({ schema: 'public', name, columns: ['id'], key: ['id'] }))
  const followed = store.tables.use(
    names.map((each) => new MemoryTable(each)),
    () => true,
    () => true,
  )
  for (const table of followed)
    store.tables.progress(table, { ...store.tables.copyState(table), state: 'done', altered: false })
  store.state.set('passing', { at: 'here', starts: 3 })
  const done: string[] = []
  const stored: ToCommit[] = []
  const committer = {
    hold: () => void done.push('hold'),
    store(flush: ToCommit) {
      done.push(store.tables.copying ? 'store while tables are to be compared' : 'store')
      if (fails) throw new Error('the disk is full')
      stored.push(flush)
    },
  }
  const kind = memoryKind(() => new MemoryDatabase('app', names))
  const leave = (transaction: Partial<LeftTransaction>) =>
    leaveTransaction(
      { store, committer, kind, most: 5 },
      { why: 'rows', whole: false, position, batch: batch(), ...transaction },
    )
  const told = () => store.diagnostics.status().recent.map(({ code, reason }) => `${code}: ${reason}`)
  return { db, store, followed, done, stored, leave, told, reset: () => reset }
}

test('what is served stands still, every table is compared without what is stored of large values, and the stream goes on behind it', () => {
  const { store, followed, done, stored, leave, told } = world()
  leave({})
  expect(done).toEqual(['hold', 'store while tables are to be compared'])
  for (const table of followed) {
    const copy = store.tables.copyState(table)
    expect([copy.state, copy.sweep, isDoubtful(copy), store.tables.hasImages(table)]).toEqual([
      'waiting',
      true,
      true,
      false,
    ])
  }
  expect(stored).toMatchObject([
    { position: { kind: 'memory', v: 1, value: position }, partial: null, incomplete: new Map() },
  ])
  expect(stored[0]?.batch.appends.size).toBe(0)
  expect(store.state.get('passing')).toBeNull()
  expect(told()).toEqual([
    'ROCKPOOL_TRANSACTION_SKIPPED: the transaction at 3 was not read to its end, and every table is compared: it has more than 5 rows (TRANSACTION_ROWS)',
  ])
})

test('it is told when sessions ended in it', () => {
  const { leave, told } = world()
  leave({ why: 'starts' })
  expect(told()[0]).toMatch(/3 sessions ended before they came to what was new of it$/)
})

test('one that is stored whole is only left behind', () => {
  const { store, done, stored, leave, told } = world()
  leave({ why: 'starts', whole: true })
  expect(done).toEqual(['store'])
  expect(stored).toMatchObject([{ position: { value: position }, partial: null }])
  expect([store.tables.copying, store.state.get('passing'), told()]).toEqual([false, null, []])
})

test('all of it is stored or nothing', () => {
  const { db, leave, reset } = world(true)
  expect(() => leave({})).toThrow('the disk is full')
  expect(reset()).toBe(1)
  const again = new Store(db, { reset: () => {}, reads: () => true })
  expect(again.tables.copies.map(({ state }) => state)).toEqual(['done', 'done'])
  expect(again.state.get('passing')).toEqual({ at: 'here', starts: 3 })
  expect(again.diagnostics.status().recent).toEqual([])
})
