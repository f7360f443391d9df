import { Buffer } from 'node:buffer'
import { describe, expect, test } from 'vitest'
import { Incoming, MAX_ANSWER_BYTES } from './incoming.ts'
import { LargeValue, MAX_MESSAGE_BYTES, MAX_ROW_BYTES, MAX_VALUE_BYTES } from '../copy/large-value.ts'
import { decodePgoutput } from '../stream/pgoutput.ts'

const u16 = (n: number) => {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(n)
  return bytes
}
const u32 = (n: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(n)
  return bytes
}
const message = (type: string, body: Uint8Array) => Buffer.concat([Buffer.from(type), u32(body.length + 4), body])
const login = (kind: number, rest = '') => message('R', Buffer.concat([u32(kind), Buffer.from(rest)]))
const change = (body: Uint8Array) => message('d', Buffer.concat([Buffer.from('w'), Buffer.alloc(24), body]))
const value = (text: string | number | null | undefined) => {
  if (text === null) return Buffer.from('n')
  if (text === undefined) return Buffer.from('u')
  const bytes = typeof text === 'number' ? Buffer.alloc(text, 'x') : Buffer.from(text)
  return Buffer.concat([Buffer.from('t'), u32(bytes.length), bytes])
}
const tuple = (...values: (string | number | null | undefined)[]) =>
  Buffer.concat([u16(values.length), ...values.map(value)])
const insert = (...values: (string | number | null | undefined)[]) =>
  change(Buffer.concat([Buffer.from('I'), u32(7), Buffer.from('N'), tuple(...values)]))

/** What the driver sees of these bytes, cut into pieces, as the bytes of whole messages; and the longest piece. */
function through(bytes: Buffer, pieces: number, safe = true): { messages: Buffer[]; longest: number } {
  const seen: Uint8Array[] = []
  const incoming = new Incoming({ safe, server: 'h:5432', emit: (piece) => seen.push(Buffer.from(piece)) })
  for (let at = 0; at < bytes.length; at += pieces) incoming.push(bytes.subarray(at, at + pieces))
  const all = Buffer.concat(seen)
  const messages: Buffer[] = []
  for (let at = 0; at < all.length;) {
    const end = at + 1 + all.readUInt32BE(at + 1)
    messages.push(all.subarray(at, end))
    at = end
  }
  return { messages, longest: Math.max(0, ...seen.map((piece) => piece.length)) }
}

const OK = login(0)

describe('what is passed on', () => {
  test.each([1, 3, 4, 5, 6, 7, 1_000, 100_000])(
    'small messages are passed on unchanged, in pieces of %i bytes',
    (pieces) => {
      const messages = [
        login(10, 'SCRAM-SHA-256\0\0'),
        login(11, 'r=x,s=YQ==,i=4096'),
        login(12, 'v=x'),
        OK,
        message('Z', Buffer.from('I')),
      ]
      messages.push(
        insert('1', 'a'.repeat(3_000), null, undefined),
        message('S', Buffer.from('x')),
        message('C', Buffer.alloc(0)),
      )
      const bytes = Buffer.concat(messages)
      expect(Buffer.concat(through(bytes, pieces).messages).equals(bytes)).toBe(true)
    },
  )

  const of = (bytes: Buffer | undefined) => decodePgoutput((bytes ?? Buffer.alloc(0)).subarray(30))

  test.each([7, 65_536, 10_000_000])(
    'a large value is replaced by its length; the others stay, in pieces of %i bytes',
    (pieces) => {
      const size = pieces === 7 ? MAX_VALUE_BYTES + 1 : 3 * MAX_VALUE_BYTES
      const { messages, longest } = through(
        Buffer.concat([OK, insert('1', size, 'after', null, undefined), insert('2', 'b')]),
        pieces,
      )
      expect(messages).toHaveLength(3)
      expect(of(messages[1])).toEqual({
        type: 'insert',
        oid: 7,
        new: ['1', new LargeValue(size), 'after', null, undefined],
      })
      expect(of(messages[2])).toEqual({ type: 'insert', oid: 7, new: ['2', 'b'] })
      expect(longest).toBeLessThan(pieces + 100)
    },
  )

  test('a row of many values is held up to its limit, for the old and the new row each', () => {
    const each = MAX_ROW_BYTES / 4
    const row = ['1', each, each, each, each - 1, 'x'] as const
    const update = change(
      Buffer.concat([Buffer.from('U'), u32(7), Buffer.from('O'), tuple(...row), Buffer.from('N'), tuple(...row, each)]),
    )
    const { messages, longest } = through(Buffer.concat([OK, update]), 65_536)
    const decoded = of(messages[1])
    if (decoded.type !== 'update') throw new Error(decoded.type)
    expect(decoded.old?.map((text) => (typeof text === 'string' ? text.length : text))).toEqual([
      1,
      each,
      each,
      each,
      each - 1,
      new LargeValue(1),
    ])
    expect(decoded.new[6]).toEqual(new LargeValue(each))
    expect(longest).toBeLessThan(2 * MAX_ROW_BYTES + 1_000)
  })

  test('a large logical message keeps only its prefix, and a large prefix is dropped', () => {
    const logical = (prefix: string, size: number) =>
      change(
        Buffer.concat([
          Buffer.from('M'),
          Buffer.of(1),
          Buffer.alloc(8),
          Buffer.from(`${prefix}\0`),
          u32(size),
          Buffer.alloc(size, 'y'),
        ]),
      )
    const bytes = Buffer.concat([
      OK,
      logical('rockpool:x', 3 * MAX_MESSAGE_BYTES),
      logical('p'.repeat(MAX_MESSAGE_BYTES), 1),
      logical('q', 2),
    ])
    const { messages, longest } = through(bytes, 65_536)
    expect(messages.slice(1).map((each) => of(each))).toEqual([
      { type: 'message', transactional: true, lsn: 0n, prefix: 'rockpool:x', content: new Uint8Array() },
      { type: 'message', transactional: true, lsn: 0n, prefix: '', content: new Uint8Array() },
      { type: 'message', transactional: true, lsn: 0n, prefix: 'q', content: new Uint8Array(Buffer.from('yy')) },
    ])
    expect(longest).toBeLessThan(65_537)
  })

  test('an oversized answer ends the connection before it has arrived', () => {
    const header = Buffer.concat([Buffer.from('D'), u32(MAX_ANSWER_BYTES + 5)])
    expect(() => through(Buffer.concat([OK, header]), 100)).toThrow(/ROCKPOOL|more than/)
    expect(() => through(Buffer.from('HTTP/1.1 400 Bad Request\r\n'), 100)).toThrow(
      /h:5432 does not speak the protocol of Postgres/,
    )
  })
})

describe('the password', () => {
  test.each([
    [3, /asks for the password in clear text on a connection whose certificate was not verified/],
    [5, /asks for the password as MD5 on a connection/],
  ])('method %i is used only where nobody can listen', (kind, text) => {
    expect(through(login(kind, 'salt'), 100, true).messages).toHaveLength(1)
    expect(() => through(login(kind, 'salt'), 100, false)).toThrow(text)
    expect(() => through(login(kind, 'salt'), 2, false)).toThrow(text)
  })

  test('SCRAM is used everywhere, and must be completed', () => {
    const begin = [login(10, 'SCRAM-SHA-256\0\0'), login(11, 'r=x,s=YQ==,i=4096')]
    expect(through(Buffer.concat([...begin, login(12, 'v=z'), OK]), 9, false).messages).toHaveLength(4)
    expect(() => through(Buffer.concat([...begin, OK]), 9, false)).toThrow(/did not prove that it knows the password/)
    expect(() => through(Buffer.concat([...begin, login(3)]), 9, false)).toThrow(/in clear text/)
  })

  test.each(['i=1', 'i=4096,i=1', 'i=4095', 'i=100001', 'i=4294967296', 'i=04096x', ''])(
    'a server that is not verified gets no proof of SCRAM for %j, because few iterations make it cheap to guess the password',
    (iterations) => {
      const begin = Buffer.concat([login(10, 'SCRAM-SHA-256\0\0'), login(11, `r=x,s=YQ==,${iterations}`)])
      expect(() => through(begin, 9, false)).toThrow(
        /asks for \S+ iterations of SCRAM, and 4096 to 100000 are accepted/,
      )
      expect(through(begin, 9, true).messages).toHaveLength(2)
    },
  )
})
