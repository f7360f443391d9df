import { expect, test } from 'vitest'
import { BARE_FORM } from '../../../sources/stored.ts'
import { cursorOf, newCopy, withCursor, type CopyState } from './copy-state.ts'

/** As the release before this one stored it. */
const BEFORE: CopyState = { state: 'copying', filenode: 5, part: 1, block: 3, item: 7, blocks: 9, rows: 40, sweep: true, after: '' }
const cursor = { filenode: 5, part: 1, block: 3, item: 7, blocks: 9 }
const units = { done: 3, of: 9 }

test('the form of the release before is read and written', () => {
  expect(cursorOf(BARE_FORM, BEFORE)).toEqual({ cursor })
  expect(withCursor(BARE_FORM, { ...BEFORE, block: 0 }, cursor, units)).toEqual(BEFORE)
  // Without the item, at the beginning of a block, nothing is left of it.
  const { item: _, ...begun } = cursor
  expect(withCursor(BARE_FORM, BEFORE, begun, units)).not.toHaveProperty('item')
  expect(newCopy(false)).toEqual({ state: 'waiting', filenode: 0, part: 0, block: 0, blocks: 0, rows: 0, sweep: false, after: '' })
})

test('the form of the next release is read', () => {
  const next: CopyState = { ...newCopy(true), state: 'copying', cursor: { kind: 'postgres', v: 1, value: cursor } }
  expect(cursorOf(BARE_FORM, next)).toEqual({ cursor })
})

test('another kind wraps its cursor, and people see how far it is', () => {
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
  expect(cursorOf(BARE_FORM, { ...newCopy(true), part: 2 })).toEqual({ cursor: { filenode: 0, part: 2, block: 0, blocks: 0 } })
})
