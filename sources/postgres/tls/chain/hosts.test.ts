import { expect, test } from 'vitest'
import { isAnotherHost, isHostName, parseHost, patternMatches } from './hosts.ts'

const addressOf = (text: string) => {
  const host = parseHost(text)
  return host?.kind === 'ip' ? Array.from(host.bytes, (byte) => byte.toString(16).padStart(2, '0')).join('') : null
}

test('an address is read in every valid form, and in no other', () => {
  const ends = (head: string, tail: string) => head + '0'.repeat(32 - head.length - tail.length) + tail
  const good: [string, string][] = [
    ['0.0.0.0', '00000000'],
    ['192.0.2.255', 'c00002ff'],
    ['::', ends('', '')],
    ['::1', ends('', '01')],
    ['1::', ends('0001', '')],
    ['[fe80::1]', ends('fe80', '01')],
    ['2001:DB8::A', ends('20010db8', '0a')],
    ['1:2:3:4:5:6:7:8', '00010002000300040005000600070008'],
    ['1:2:3:4:5:6:7::', '00010002000300040005000600070000'],
    ['::ffff:192.0.2.1', ends('', 'ffffc0000201')],
    ['1:2:3:4:5:6:192.0.2.1', '000100020003000400050006c0000201'],
  ]
  expect(good.map(([text]) => [text, addressOf(text)])).toEqual(good)
  const bad = [
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '256.1.1.1',
    '1.2.3.4.',
    ':::',
    '1::2::3',
    ':1',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
  ]
  const worse = [
    '::12345',
    '::g',
    '1.2.3.4::',
    '::1.2.3.4:1',
    'fe80::1%eth0',
    '1:2:3:4:5:6:7:8::',
    '0x7f000001',
    '',
    ':',
    '[1.2.3',
    '::1.2.3',
  ]
  expect([...bad, ...worse].filter((text) => addressOf(text) !== null)).toEqual([])
})

test('a name has letters, digits and hyphens, and does not end with a number', () => {
  const label = 'a'.repeat(63)
  const good = [
    'localhost',
    'a',
    'a-b.c',
    'xn--bcher-kva.example',
    '1a.b2',
    label,
    `${label}.${label}.${label}.${'a'.repeat(61)}`,
  ]
  expect(good.filter((text) => !isHostName(text))).toEqual([])
  const bad = [
    '',
    '.',
    'a.',
    '.a',
    'a..b',
    '-a',
    'a-',
    'a_b',
    'a b',
    'a\0',
    'é',
    '1.2.3.4',
    'a.1',
    '*',
    '*.a',
    `${label}a`,
    `${label}.${label}.${label}.${label}`,
  ]
  expect(bad.filter(isHostName)).toEqual([])
})

test('a wildcard is the whole first label, below a name of two or more labels that is not shared by strangers', () => {
  const good: [string, string][] = [
    ['a.b', 'a.b'],
    ['*.a.b', 'x.a.b'],
    ['*.supabase.co', 'db.supabase.co'],
    ['*.compute.internal', 'db.compute.internal'],
  ]
  expect(good.filter(([pattern, name]) => !patternMatches(pattern, name))).toEqual([])
  const bad: [string, string][] = [
    ...(
      ['*', '*.', '*.b', '*.*.b', 'x*.a.b', '*x.a.b', 'x.*.b', '**.a.b', '*.a.b.', '.a.b', '', 'x.a.b.'] as const
    ).map((pattern): [string, string] => [pattern, 'x.a.b']),
    ['*.b', 'a.b'],
    ['*.com', 'example.com'],
    ['*.co.uk', 'example.co.uk'],
    ['*.herokuapp.com', 'x.herokuapp.com'],
    ['*.a.b', 'a.b'],
    ['*.a.b', '.a.b'],
    ['*.a.b', 'y.x.a.b'],
    ['*.0.2.1', '192.0.2.1'],
  ]
  expect(bad.filter(([pattern, name]) => patternMatches(pattern, name))).toEqual([])
})

test('a subject shows another host when it is a host and not an alternative name', () => {
  const another = (text: string, names: string[] = ['db.example.com'], addresses: string[] = []) =>
    isAnotherHost(text, names, addresses)
  const yes = [
    'x.example.com',
    'DB.example.com',
    'tést.com',
    '*.example.org',
    '192.0.2.1',
    '192.000.2.1',
    '0xC0000201',
    '::1',
    '2001:db8::',
  ]
  expect(yes.filter((text) => !another(text))).toEqual([])
  const no = [
    'db.example.com',
    'example.com',
    'com.',
    'Postgres',
    'my database',
    'project:instance',
    'CA of Example, Inc. ',
    '',
  ]
  expect(no.filter((text) => another(text))).toEqual([])
  expect(another('x.example.com', [])).toBe(false)
  expect(another('192.0.2.1', [], ['192.0.2.1'])).toBe(false)
})
