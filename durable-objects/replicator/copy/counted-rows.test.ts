import { expect, test } from 'vitest'
import { countCopies } from './counted-rows.ts'

const key = (hash: string) => JSON.stringify([hash])
const read = (...hashes: string[]) =>
  hashes.map((hash) => ({ key: key(hash), row: { key: key(hash), decode: () => ({ row: { hash }, image: null }) } }))
const range = { from: '["10', to: '["20' }

test('a row is there as often as it was read, and as invisible transactions say', () => {
  const counted = countCopies(
    read('11', '11', '12', '13'),
    [key('14'), key('15')],
    new Map([
      [key('11'), -1],
      [key('12'), 2],
      [key('13'), -1],
      [key('15'), 1],
    ]),
    range,
  )
  expect(Object.fromEntries([...(counted ?? [])].map(([name, { copies }]) => [JSON.parse(name)[0], copies]))).toEqual({
    '11': 1,
    '12': 3,
    '13': 0,
    // We have it, and it is neither there nor on its way.
    '14': 0,
    '15': 1,
  })
})

test('what lies in another range says nothing here, and what nobody describes is read again', () => {
  expect(
    countCopies(
      read('11'),
      [],
      new Map([
        [key('20'), 5],
        [key('0f'), 5],
      ]),
      range,
    )?.size,
  ).toBe(1)
  expect(countCopies(read('11'), [], new Map([[key('12'), 1]]), range)).toBeNull()
  // It came and went, both invisible.
  expect(countCopies(read('11'), [], new Map([[key('12'), 0]]), range)?.get(key('12'))?.copies).toBe(0)
  expect(countCopies([], [], new Map([[key('ff'), 1]]), { from: '["10', to: null })).toBeNull()
})
