import { expect, test } from 'vitest'
import { migrate } from '../../shared/database.ts'
import { testDatabase } from '../../test-database.ts'
import { Marks, markText, parseMark } from './marks.ts'
import { MIGRATIONS, StateStore } from '../store/storage.ts'

function storage() {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  return { db, state: new StateStore(db) }
}

test('what was signed is opened, also by the next incarnation; everything else is nobody’s', () => {
  const { db, state } = storage()
  const marks = new Marks(state)
  const signed = marks.sign(markText('a'))
  expect(marks.open(signed)).toEqual({ content: '{"mark":"a"}', earlier: false })
  expect(new Marks(new StateStore(db)).open(signed)?.content).toBe('{"mark":"a"}')
  const other = new Marks(storage().state)
  for (const text of [
    markText('a'),
    '',
    '{}',
    signed.replace('"a"', '"b"'),
    signed.replace(/"hmac":"./, (found) => `${found.slice(0, -1)}${found.endsWith('A') ? 'B' : 'A'}`),
    other.sign(markText('a')),
    `{"write":[],"hmac":"${'A'.repeat(43)}"}`,
  ]) {
    expect([text, marks.open(text)]).toEqual([text, null])
  }
})

test('an earlier version reads what is signed as it did', () => {
  expect(parseMark(new Marks(storage().state).sign(markText('a')))).toBe('a')
})

test('what an earlier version wrote is ours until the first message that is signed has come', () => {
  const { db, state } = storage()
  state.set('source', { systemIdentifier: '1', database: 'd' })
  const marks = new Marks(state)
  const signed = marks.sign(markText('session'))
  expect(marks.open(markText('old'))).toEqual({ content: '{"mark":"old"}', earlier: true })
  // A crash in between changes nothing.
  expect(new Marks(new StateStore(db)).open(markText('old'))?.earlier).toBe(true)
  expect(marks.open(signed)?.earlier).toBe(false)
  expect(marks.open(markText('old'))).toBeNull()
  expect(new Marks(new StateStore(db)).open(markText('old'))).toBeNull()
})
