import { expect, test } from 'vitest'
import {
  DerReader,
  TAG,
  inside,
  readBits,
  readBoolean,
  readCount,
  readInteger,
  readOid,
  readTime,
  type Element,
} from './der.ts'
import { MAX_DER_DEPTH } from './limits.ts'
import { ascii, bytes, seq, tlv } from './test-authority.ts'
import { reasonOf } from './test-cases.ts'

const read = <T>(der: Uint8Array, as: (element: Element) => T): T | string => {
  try {
    const reader = new DerReader(der)
    const element = reader.next()
    reader.end()
    return as(element)
  } catch (error) {
    return reasonOf(error)
  }
}
const refused = <T>(forms: number[][], as: (element: Element) => T) =>
  expect(forms.map((form) => read(bytes(...form), as))).toEqual(forms.map(() => 'unreadable'))
const anything = (element: Element) => element.value.length

test('lengths must be as short as possible, and their content must be there', () => {
  expect([
    read(tlv(4, new Uint8Array(127)), anything),
    read(tlv(4, new Uint8Array(128)), anything),
    read(tlv(4, new Uint8Array(300)), anything),
  ]).toEqual([127, 128, 300])
  refused(
    [
      [],
      [4],
      [4, 1],
      [4, 0x81, 1, 0],
      [4, 0x81, 0x7f, ...new Array<number>(127).fill(0)],
      [4, 0x82, 0, 0x80, ...new Array<number>(128).fill(0)],
    ],
    anything,
  )
  refused(
    [
      [4, 0x80, 0, 0],
      [4, 0x84, 0, 0, 0, 1, 0],
      [4, 0xff],
      [4, 0x83, 0xff, 0xff, 0xff],
      [4, 0, 0],
      [0x1f, 0],
      [0x3f, 1, 0],
    ],
    anything,
  )
})

test('each value has exactly one form', () => {
  expect([read(bytes(1, 1, 0), readBoolean), read(bytes(1, 1, 0xff), readBoolean)]).toEqual([false, true])
  refused(
    [
      [1, 0],
      [1, 1, 1],
      [1, 2, 0, 0],
    ],
    readBoolean,
  )
  expect([
    read(bytes(2, 1, 0), readCount),
    read(bytes(2, 2, 1, 0), readCount),
    read(bytes(2, 5, 1, 0, 0, 0, 0), readCount),
  ]).toEqual([0, 256, 0x7fffffff])
  refused(
    [
      [2, 0],
      [2, 2, 0, 1],
      [2, 2, 0xff, 0x80],
    ],
    readInteger,
  )
  refused([[2, 1, 0x80]], readCount)
  expect(read(bytes(3, 2, 7, 0x80), (element) => readBits(element).unused)).toBe(7)
  refused(
    [
      [3, 0],
      [3, 1, 1],
      [3, 2, 8, 0],
      [3, 2, 1, 1],
    ],
    readBits,
  )
})

test('identifiers of any size have exactly one form', () => {
  const forms: [string, number[]][] = [
    ['2.5.29.17', [0x55, 0x1d, 0x11]],
    ['1.2.840.113549', [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]],
    ['2.999', [0x88, 0x37]],
    ['0.39', [39]],
    [`2.25.${(1n << 70n) - 1n}`, [0x69, ...new Array<number>(9).fill(0xff), 0x7f]],
  ]
  expect(forms.map(([, form]) => read(tlv(6, ...form), readOid))).toEqual(forms.map(([text]) => text))
  refused(
    [
      [6, 0],
      [6, 2, 0x2a, 0x80],
      [6, 3, 0x2a, 0x80, 1],
      [6, 41, ...new Array<number>(41).fill(1)],
    ],
    readOid,
  )
})

test('dates are whole seconds of days that exist', () => {
  const time = (tag: number, text: string) => read(tlv(tag, ascii(text)), readTime)
  const [utc, general] = [TAG.utcTime, TAG.generalizedTime]
  expect([
    time(utc, '491231235959Z'),
    time(utc, '500101000000Z'),
    time(general, '20500101000000Z'),
    time(general, '20240229000000Z'),
  ]).toEqual(['2049-12-31T23:59:59Z', '1950-01-01', '2050-01-01', '2024-02-29'].map((text) => Date.parse(text)))
  const wrong = [
    '230229000000Z',
    '231301000000Z',
    '230001000000Z',
    '230100000000Z',
    '230101240000Z',
    '230101006000Z',
    '230101000060Z',
    '2301010000Z',
    '',
    '230101000000',
    ' 30101000000Z',
  ]
  expect(wrong.map((text) => time(utc, text))).toEqual(wrong.map(() => 'unreadable'))
  const long = ['20240101000000.0Z', '20240101000000+0000', '00500101000000Z', '2024010100000Z', '20230229000000Z']
  expect(long.map((text) => time(general, text))).toEqual(long.map(() => 'unreadable'))
})

test('nested levels are limited', () => {
  const nested = (levels: number) => Array.from({ length: levels }).reduce<Uint8Array>((inner) => seq(inner), bytes())
  const depth = (element: Element): number => {
    const reader = inside(element)
    return reader.done ? 1 : 1 + depth(reader.next())
  }
  expect(read(nested(MAX_DER_DEPTH), depth)).toBe(MAX_DER_DEPTH)
  expect(read(nested(MAX_DER_DEPTH + 1), depth)).toBe('unreadable')
  expect(read(nested(100), depth)).toBe('unreadable')
})
