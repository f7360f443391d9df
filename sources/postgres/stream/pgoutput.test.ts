import { describe, expect, test } from 'vitest'
import { RockpoolError } from '../../../protocol/errors.ts'
import { decodePgoutput, StreamingPgoutputDecoder } from './pgoutput.ts'
import type { PgoutputMessage } from '../types.ts'

// Fields as the documentation of Postgres writes them, put together to bytes.
const byte = (...values: (number | string)[]) =>
  values.map((value) => (typeof value === 'number' ? value : value.charCodeAt(0)))
const int16 = (value: number) => [(value >> 8) & 255, value & 255]
const int32 = (value: number) => [24, 16, 8, 0].map((shift) => (value >>> shift) & 255)
const int64 = (value: bigint) => [...int32(Number((value >> 32n) & 0xffffffffn)), ...int32(Number(value & 0xffffffffn))]
const string = (text: string) => [...new TextEncoder().encode(text), 0]
const text = (value: string) => [
  ...byte('t'),
  ...int32(new TextEncoder().encode(value).length),
  ...new TextEncoder().encode(value),
]
const tuple = (...values: (string | null | undefined)[]) => [
  ...int16(values.length),
  ...values.flatMap((value) => (value === null ? byte('n') : value === undefined ? byte('u') : text(value))),
]
/** 2026-11-23T10:20:30.123456Z in microseconds since 2000. */
const TIME = BigInt(Date.UTC(2026, 10, 23, 10, 20, 30, 123) - Date.UTC(2000, 0, 1)) * 1000n + 456n
const LSN = 0x16_b374d848n

const MESSAGES: [name: string, bytes: number[], message: PgoutputMessage][] = [
  [
    'Begin',
    [...byte('B'), ...int64(LSN), ...int64(TIME), ...int32(0xfffffffe)],
    { type: 'begin', finalLsn: LSN, commitTime: '2026-11-23T10:20:30.123456Z', xid: 0xfffffffe },
  ],
  [
    'Commit',
    [...byte('C', 0), ...int64(LSN), ...int64(LSN + 48n), ...int64(-1n)],
    { type: 'commit', commitLsn: LSN, endLsn: LSN + 48n, commitTime: '1999-12-31T23:59:59.999999Z' },
  ],
  [
    'Origin',
    [...byte('O'), ...int64(LSN), ...string('from_elsewhere')],
    { type: 'origin', commitLsn: LSN, name: 'from_elsewhere' },
  ],
  [
    'Relation',
    [
      ...byte('R'),
      ...int32(4_000_000_000),
      ...string(''),
      ...string('Größe'),
      ...byte('i'),
      ...int16(2),
      ...byte(1),
      ...string('id'),
      ...int32(23),
      ...int32(-1),
      ...byte(0),
      ...string('v'),
      ...int32(1043),
      ...int32(14),
    ],
    {
      type: 'relation',
      oid: 4_000_000_000,
      schema: 'pg_catalog',
      name: 'Größe',
      identity: 'i',
      columns: [
        { key: true, name: 'id', typeOid: 23, typmod: -1 },
        { key: false, name: 'v', typeOid: 1043, typmod: 14 },
      ],
    },
  ],
  [
    'Type',
    [...byte('Y'), ...int32(16400), ...string('app'), ...string('mood')],
    { type: 'type', oid: 16400, schema: 'app', name: 'mood' },
  ],
  [
    'Insert',
    [...byte('I'), ...int32(7), ...byte('N'), ...tuple('1', '', null, undefined, 'ä', 'Grüße 🌊', 'a long text')],
    { type: 'insert', oid: 7, new: ['1', '', null, undefined, 'ä', 'Grüße 🌊', 'a long text'] },
  ],
  [
    'Update',
    [...byte('U'), ...int32(7), ...byte('N'), ...tuple('1', undefined)],
    { type: 'update', oid: 7, new: ['1', undefined] },
  ],
  [
    'Update of the key',
    [...byte('U'), ...int32(7), ...byte('K'), ...tuple('1', null), ...byte('N'), ...tuple('2', 'x')],
    { type: 'update', oid: 7, key: ['1', null], new: ['2', 'x'] },
  ],
  [
    'Update with the old row',
    [...byte('U'), ...int32(7), ...byte('O'), ...tuple('1', 'w'), ...byte('N'), ...tuple('1', 'x')],
    { type: 'update', oid: 7, old: ['1', 'w'], new: ['1', 'x'] },
  ],
  [
    'Delete by key',
    [...byte('D'), ...int32(7), ...byte('K'), ...tuple('1', null)],
    { type: 'delete', oid: 7, key: ['1', null] },
  ],
  [
    'Delete with the old row',
    [...byte('D'), ...int32(7), ...byte('O'), ...tuple('1', 'x')],
    { type: 'delete', oid: 7, old: ['1', 'x'] },
  ],
  [
    'Truncate',
    [...byte('T'), ...int32(2), ...byte(3), ...int32(7), ...int32(8)],
    { type: 'truncate', oids: [7, 8], cascade: true, restartIdentity: true },
  ],
  [
    'Message',
    [...byte('M', 1), ...int64(LSN), ...string('rockpool'), ...int32(2), 0, 255],
    { type: 'message', transactional: true, lsn: LSN, prefix: 'rockpool', content: new Uint8Array([0, 255]) },
  ],
  [
    'Message outside a transaction',
    [...byte('M', 0), ...int64(LSN), ...string(''), ...int32(0)],
    { type: 'message', transactional: false, lsn: LSN, prefix: '', content: new Uint8Array() },
  ],
]

const decodeAt = (bytes: number[]) => {
  // In the middle of a larger buffer, as it comes from the network.
  const buffer = new Uint8Array([9, 9, 9, ...bytes, 9, 9])
  return decodePgoutput(buffer.subarray(3, 3 + bytes.length))
}

function codeOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (error instanceof RockpoolError) return `${error.code} ${error.message}`
    throw error
  }
  return 'no error'
}

describe('protocol 1', () => {
  test.each(MESSAGES)('%s', (_, bytes, message) => {
    expect(decodeAt(bytes)).toEqual(message)
  })

  test.each(MESSAGES)('%s cut short anywhere, or longer than it says, is an error with the bytes', (_, bytes) => {
    for (let length = 0; length < bytes.length; length++) {
      expect(codeOf(() => decodeAt(bytes.slice(0, length)))).toMatch(
        /^ROCKPOOL_PGOUTPUT .*shorter than it says: \d+ bytes/,
      )
    }
    expect(codeOf(() => decodeAt([...bytes, 0]))).toMatch(/^ROCKPOOL_PGOUTPUT .*longer than it says/)
  })

  test.each<[string, number[], RegExp]>([
    ['an unknown message', byte('Z', 1, 2), /unknown type "Z": 3 bytes, read up to 1: 5a 01 02$/],
    ['a message of protocol 2', [...byte('S'), ...int32(7), 1], /unknown type "S"/],
    [
      'a binary value',
      [...byte('I'), ...int32(7), ...byte('N'), ...int16(1), ...byte('b'), ...int32(0)],
      /unknown form 98/,
    ],
    [
      'no new tuple in an insert',
      [...byte('I'), ...int32(7), ...byte('X'), ...tuple('1')],
      /"X" where a new tuple begins/,
    ],
    [
      'no new tuple in an update',
      [...byte('U'), ...int32(7), ...byte('X'), ...tuple('1')],
      /"X" where a new tuple begins/,
    ],
    [
      'no new tuple behind the old one',
      [...byte('U'), ...int32(7), ...byte('K'), ...tuple('1'), ...byte('O'), ...tuple('1')],
      /"O" where a new tuple begins/,
    ],
    [
      'a delete without its row',
      [...byte('D'), ...int32(7), ...byte('N'), ...tuple('1')],
      /delete with the unknown tuple "N"/,
    ],
    ['flags of a truncate', [...byte('T'), ...int32(1), ...byte(4), ...int32(7)], /unknown flags 4/],
    ['flags of a commit', [...byte('C', 1), ...int64(1n), ...int64(2n), ...int64(0n)], /unknown flags 1/],
    [
      'a replica identity',
      [...byte('R'), ...int32(7), ...string('s'), ...string('t'), ...byte('x'), ...int16(0)],
      /replica identity "x"/,
    ],
    ['a count that no message could hold', [...byte('T'), ...int32(0xffffffff), ...byte(0)], /shorter than it says/],
    [
      'a time beyond all calendars',
      [...byte('B'), ...int64(1n), ...int64(2n ** 63n - 1n), ...int32(1)],
      /time out of range/,
    ],
  ])('%s is an error', (_, bytes, message) => {
    expect(codeOf(() => decodeAt(bytes))).toMatch(/^ROCKPOOL_PGOUTPUT /)
    expect(codeOf(() => decodeAt(bytes))).toMatch(message)
  })

  test('an error shows the first bytes of a long message only', () => {
    const message = codeOf(() => decodeAt([...byte('Z'), ...new Array<number>(100_000).fill(0xab)]))
    expect(message).toMatch(/100001 bytes, read up to 1: 5a( ab){63} …$/)
  })

  test('bytes that are not UTF-8 end no session: they become U+FFFD', () => {
    const bytes = [...byte('I'), ...int32(7), ...byte('N'), ...int16(2), ...byte('t'), ...int32(1), 0xe9, ...text('x')]
    expect(decodeAt(bytes)).toEqual({ type: 'insert', oid: 7, new: ['\ufffd', 'x'] })
  })

  test('the content of a message is a copy', () => {
    const bytes = new Uint8Array([...byte('M', 1), ...int64(1n), ...string('p'), ...int32(1), 7])
    const message = decodePgoutput(bytes)
    bytes.fill(0)
    expect(message).toMatchObject({ content: new Uint8Array([7]) })
  })
})

describe('protocol 2', () => {
  const start = (xid: number, first: number) => [...byte('S'), ...int32(xid), first]
  const stop = byte('E')
  /** As inside a stream block: the xid follows the tag. */
  const inside = (xid: number, bytes: number[]) => [...bytes.slice(0, 1), ...int32(xid), ...bytes.slice(1)]

  test('outside stream blocks everything is as in protocol 1', () => {
    const decoder = new StreamingPgoutputDecoder()
    for (const [, bytes, message] of MESSAGES) expect(decoder.decode(new Uint8Array(bytes))).toEqual(message)
  })

  test('inside a stream block everything but Origin carries the xid of its subtransaction', () => {
    const decoder = new StreamingPgoutputDecoder()
    const decode = (bytes: number[]) => decoder.decode(new Uint8Array(bytes))
    expect(decode(start(700, 1))).toEqual({ type: 'stream start', xid: 700, first: true })
    for (const [, bytes, message] of MESSAGES) {
      if (message.type === 'begin' || message.type === 'commit') continue
      if (message.type === 'origin') expect(decode(bytes)).toEqual(message)
      else expect(decode(inside(701, bytes))).toEqual({ ...message, xid: 701 })
    }
    expect(decode(stop)).toEqual({ type: 'stream stop' })
    expect(decode(start(700, 0))).toEqual({ type: 'stream start', xid: 700, first: false })
    expect(decode(stop)).toEqual({ type: 'stream stop' })
    expect(decode([...byte('A'), ...int32(700), ...int32(701)])).toEqual({
      type: 'stream abort',
      xid: 700,
      subXid: 701,
    })
    expect(decode([...byte('c'), ...int32(700), 0, ...int64(LSN), ...int64(LSN + 1n), ...int64(TIME)])).toEqual({
      type: 'stream commit',
      xid: 700,
      commitLsn: LSN,
      endLsn: LSN + 1n,
      commitTime: '2026-11-23T10:20:30.123456Z',
    })
  })

  test('what may not come at its place is an error', () => {
    const outside = (bytes: number[]) => codeOf(() => new StreamingPgoutputDecoder().decode(new Uint8Array(bytes)))
    expect(outside(stop)).toMatch(/^ROCKPOOL_PGOUTPUT .*"E" outside a stream block/)
    expect(outside([...byte('S'), ...int32(1), 2])).toMatch(/^ROCKPOOL_PGOUTPUT .*unknown flags 2/)
    const within = (bytes: number[]) => {
      const decoder = new StreamingPgoutputDecoder()
      decoder.decode(new Uint8Array(start(1, 1)))
      return codeOf(() => decoder.decode(new Uint8Array(bytes)))
    }
    for (const [name, bytes] of MESSAGES) {
      if (name === 'Begin' || name === 'Commit')
        expect(within(bytes)).toMatch(/^ROCKPOOL_PGOUTPUT .*inside a stream block/)
    }
    expect(within(start(2, 1))).toMatch(/inside a stream block/)
    expect(within([...byte('A'), ...int32(1), ...int32(1)])).toMatch(/inside a stream block/)
    expect(within([...byte('c'), ...int32(1), 0, ...int64(1n), ...int64(1n), ...int64(1n)])).toMatch(
      /inside a stream block/,
    )
  })
})
