import { describe, expect, test } from 'vitest'
import { parseArray, parseComposite, parseMultirange, parseRange } from './literals.ts'

describe('arrays', () => {
  test.each<[string, unknown]>([
    ['{}', []],
    ['{1,NULL,"NULL",null}', ['1', null, 'NULL', 'null']],
    [
      '{{1,2},{3,4}}',
      [
        ['1', '2'],
        ['3', '4'],
      ],
    ],
    [
      '[0:1][-1:0]={{1,2},{3,4}}',
      [
        ['1', '2'],
        ['3', '4'],
      ],
    ],
    ['{"",a b," ","\\\\","\\"","{,}"}', ['', 'a b', ' ', '\\', '"', '{,}']],
  ])('%s', (text, items) => expect(parseArray(text)).toEqual(items))

  test('box is separated by ;', () =>
    expect(parseArray('{(1,1),(0,0);(2,2),(1,1)}', ';')).toEqual(['(1,1),(0,0)', '(2,2),(1,1)']))

  test.each(['', 'x', '{', '{1', '{1,', '{"a', '{{1}', '{1}x', '1 2', '[0:1]', '{1}}'])('%j is malformed', (text) => {
    expect(() => parseArray(text)).toThrow()
  })
})

describe('composites', () => {
  test.each<[string, unknown]>([
    ['()', [null]],
    ['(1,,"")', ['1', null, '']],
    ['("a ""b"" \\\\","(1,2)")', ['a "b" \\', '(1,2)']],
  ])('%s', (text, members) => expect(parseComposite(text)).toEqual(members))

  test.each(['', '(', '1,2', '(1', '("a)', '(1)2)'])('%j is malformed', (text) =>
    expect(() => parseComposite(text)).toThrow(),
  )
})

describe('ranges', () => {
  const parts = (lower: string | null, upper: string | null, lowerExclusive: boolean, upperExclusive: boolean) => ({
    lower,
    upper,
    lowerExclusive,
    upperExclusive,
  })
  test.each<[string, unknown]>([
    ['empty', 'empty'],
    ['[1,10)', parts('1', '10', false, true)],
    ['(,5]', parts(null, '5', true, false)],
    ['["a ""b"", \\\\",""]', parts('a "b", \\', '', false, false)],
  ])('%s', (text, range) => expect(parseRange(text)).toEqual(range))

  test.each(['', 'x', '[1', '[1,2', '[1,2)x', '1,2)', '{1,2)'])('%j is malformed', (text) =>
    expect(() => parseRange(text)).toThrow(),
  )

  test('multiranges', () => {
    expect(parseMultirange('{}')).toEqual([])
    expect(parseMultirange('{[1,3),["a,"")]",)}')).toEqual(['[1,3)', '["a,"")]",)'])
  })
  test.each(['', '[1,2)', '{[1,2)', '{[1,2)x}', '{[1,2)}x', '{x}'])('%j is not a multirange', (text) =>
    expect(() => parseMultirange(text)).toThrow(),
  )
})
