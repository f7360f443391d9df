import { beforeEach, expect, test } from 'vitest'
import { testDatabase } from '../../test-database.ts'
import { Store } from '../store/store.ts'
import { PASSED_NOTED, PASSING_STARTS, TransactionLimit } from './transaction-limit.ts'

let store: Store
let durable: PromiseWithResolvers<void>
let flushed = 0
let answered = 0

beforeEach(() => {
  store = newStore()
  durable = Promise.withResolvers()
  flushed = 0
  answered = 0
})

const newStore = (db = testDatabase()): Store =>
  new Store(db, {
    reset: (error) => {
      throw error
    },
  })

/** A session begins. */
function begun(most = 1_000_000, spent: () => boolean = () => false): TransactionLimit {
  return new TransactionLimit({
    state: store.state,
    most,
    spent,
    durable: () => durable.promise,
    answered: () => void answered++,
    failed: (error) => {
      throw error
    },
  })
}
const pass = (limit: TransactionLimit, rows: number, whole = false) => {
  for (let row = 1; row < rows; row++) if (limit.passed(whole, () => void flushed++) !== null) return `at ${row}`
  return limit.passed(whole, () => void flushed++)
}
const passing = () => store.state.get('passing')
const at = (n: number) =>
  store.state.set('decode', { counter: n, position: { kind: 'memory', v: 1, value: { n } }, partial: null })

test('a transaction may have so many rows, stored or not, and no more; the next one as many', () => {
  const limit = begun(10)
  for (let n = 0; n < 2; n++) {
    limit.begin()
    expect(pass(limit, 6)).toBeNull()
    for (let row = 7; row <= 10; row++) expect(limit.taken()).toBeNull()
    expect(limit.taken()).toBe('rows')
  }
  limit.begin()
  expect(pass(limit, 10)).toBeNull()
  expect(pass(limit, 1)).toBe('rows')
})

test('one that is stored whole is of any size: it is not read for what is in it', () => {
  expect(pass(begun(10), 100, true)).toBeNull()
})

test('nothing is stored of a session that passes few rows, and one row of one that passes many', () => {
  const limit = begun()
  limit.begin()
  expect(pass(limit, PASSED_NOTED - 1)).toBeNull()
  expect([passing(), flushed]).toEqual([null, 0])
  expect(pass(limit, PASSED_NOTED)).toBeNull()
  expect([passing()?.starts, flushed]).toEqual([1, 1])
})

test('a session whose budget is spent on what passes is counted at once', () => {
  const limit = begun(1_000_000, () => true)
  limit.begin()
  expect(pass(limit, 1)).toBeNull()
  expect(passing()?.starts).toBe(1)
})

test('the session after the third that ended while it passed reads no more of it', () => {
  at(1)
  for (let start = 1; start <= PASSING_STARTS; start++) {
    expect(pass(begun(), PASSED_NOTED, true)).toBeNull()
    expect(passing()?.starts).toBe(start)
  }
  expect(pass(begun(), PASSED_NOTED, true)).toBe('starts')
})

test('the count is of one place in the stream', () => {
  for (let n = 1; n < 10; n++) {
    at(n)
    expect(pass(begun(), PASSED_NOTED, true)).toBeNull()
    expect(passing()?.starts).toBe(1)
  }
})

test('the count survives the object', () => {
  const db = testDatabase()
  for (let start = 1; start <= PASSING_STARTS; start++) {
    store = newStore(db)
    expect(pass(begun(), PASSED_NOTED, true)).toBeNull()
  }
  store = newStore(db)
  expect(pass(begun(), PASSED_NOTED, true)).toBe('starts')
})

test('something new ends the count, and is waited for: what it does to the session is not counted', async () => {
  const limit = begun()
  limit.begin()
  pass(limit, PASSED_NOTED)
  expect(limit.waits).toBe(false)
  expect(limit.taken()).toBeNull()
  expect([passing(), limit.waits, answered]).toEqual([null, true, 0])
  durable.resolve()
  await durable.promise
  await null
  expect([limit.waits, answered]).toEqual([false, 1])
  // Behind it, rows of tables that are not followed are counted anew.
  expect(pass(limit, PASSED_NOTED - 1)).toBeNull()
  expect(passing()).toBeNull()
  expect(pass(limit, 1)).toBeNull()
  expect(passing()?.starts).toBe(1)
})

test('nothing is waited for, or written, when nothing was counted', () => {
  const limit = begun()
  limit.begin()
  pass(limit, 5)
  expect(limit.taken()).toBeNull()
  expect([limit.waits, passing()]).toEqual([false, null])
})
