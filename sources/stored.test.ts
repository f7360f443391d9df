import { expect, test } from 'vitest'
import { bareState, BARE_FORM, fromStored, toStored } from './stored.ts'

const value = { lsn: '0/16B3748', xid: 7, time: 't' }
const wrapped = { kind: 'postgres', v: 1, value }

test('both forms are read, and the wrapped one is written', () => {
  expect(toStored(BARE_FORM, value)).toEqual(wrapped)
  expect([fromStored(BARE_FORM, value), fromStored(BARE_FORM, wrapped)]).toEqual([{ value }, { value }])
  expect([bareState(value), bareState(wrapped)]).toEqual([value, value])
})

test('what a kind has us keep says whose it is', () => {
  const form = { name: 'other', version: 3 }
  const stored = toStored(form, value)
  expect(stored).toEqual({ kind: 'other', v: 3, value })
  expect(fromStored(form, stored)).toEqual({ value })
})

test('state of another kind or version is nobody’s', () => {
  for (const [form, stored] of [
    [{ name: 'other', version: 1 }, value],
    [{ name: 'postgres', version: 2 }, value],
    [{ name: 'postgres', version: 2 }, wrapped],
    [BARE_FORM, { ...wrapped, v: 2 }],
    [BARE_FORM, { ...wrapped, kind: 'other' }],
  ] as const) {
    expect(fromStored(form, stored)).toEqual({
      foreign: expect.stringContaining(`not ${form.name}, version ${form.version}`),
    })
  }
})

test('texts of a row in columns of these names are no wrapper', () => {
  const image = { kind: 'postgres', v: '1', value: 'x' }
  expect(bareState(image)).toBe(image)
})
