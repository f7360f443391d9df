import { expect, test } from 'vitest'
import { BARE_FORM } from '../../../sources/stored.ts'
import { cursorOf, newCopy, withCursor, type CopyState } from './copy-state.ts'

/** As releases up to 1f167cff stored it. */
const BEFORE: CopyState = {
  state: 'copying',
  filenode: 5,
  part: 1,
  block: 3,
  item: 7,
  blocks: 9,
  rows: 40,
  sweep: true,
  after: '',
}
const cursor = { filenode: 5, part: 1, block: 3, item: 7, blocks: 9 }
const units = { done: 3, of: 9 }

test('a bare cursor is read, and nothing of it is left when it is stored again', () => {
  expect(cursorOf(BARE_FORM, BEFORE)).toEqual({ cursor })
  const stored = withCursor(BARE_FORM, BEFORE, cursor, units)
  const wrapped = { kind: 'postgres', v: 1, value: cursor }
  expect(stored).toEqual({ state: 'copying', block: 3, blocks: 9, rows: 40, sweep: true, after: '', cursor: wrapped })
  expect(cursorOf(BARE_FORM, stored)).toEqual({ cursor })
})

test('a cursor says whose it is, and people see how far it is', () => {
  const form = { name: 'other', version: 1 }
  const copy = withCursor(form, { ...newCopy(false), state: 'copying' }, { after: 'x' }, units)
  expect(copy).toMatchObject({ block: 3, blocks: 9, cursor: { kind: 'other', v: 1, value: { after: 'x' } } })
  expect(cursorOf(form, copy)).toEqual({ cursor: { after: 'x' } })
  expect(cursorOf(BARE_FORM, copy)).toHaveProperty('foreign')
  expect(cursorOf(form, BEFORE)).toHaveProperty('foreign')
})

test('what is not begun is nobody’s; a part that is to be read again is', () => {
  expect(cursorOf({ name: 'other', version: 1 }, newCopy(false))).toEqual({ cursor: null })
  expect(cursorOf(BARE_FORM, newCopy(false))).toEqual({ cursor: null })
  expect(cursorOf(BARE_FORM, { ...newCopy(true), filenode: 0, part: 2 })).toEqual({
    cursor: { filenode: 0, part: 2, block: 0, blocks: 0 },
  })
})
