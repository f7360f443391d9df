import { deserialize, type Document } from 'bson'
import { describe, expect, test } from 'vitest'
import type { SyncLine } from '../../protocol/lines.ts'
import { opText } from '../../protocol/op-text.ts'
import type { RowOp } from '../../protocol/ops.ts'
import { bsonLines } from './bson-lines.ts'
import { BsonWriter } from './bson.ts'

/** As a client reads it, with every number in its own type. */
const typed = (bytes: Uint8Array): Document => deserialize(bytes, { promoteValues: false, promoteLongs: false })
const plain = (bytes: Uint8Array): Document => deserialize(bytes)

const put = (id: string, checksum: number, data: string): RowOp => ({
  op: 'PUT',
  objectType: 'lists',
  objectId: id,
  subkey: `s-${id}`,
  checksum,
  data,
})

const randomNumbers =
  (seed: number) =>
  (n: number): number =>
    (seed = (seed * 48271) % 2147483647) % Math.max(1, n)

describe('lines in BSON', () => {
  test.each<SyncLine>([
    { checkpoint: { last_op_id: '0', buckets: [], streams: [] } },
    {
      checkpoint: {
        last_op_id: '9007199254740993',
        write_checkpoint: '7',
        buckets: [
          {
            bucket: 'a["ü—🐚"]',
            checksum: -969191036,
            count: 2,
            priority: 0,
            subscriptions: [{ default: 0 }, { sub: 3 }],
          },
        ],
        streams: [
          {
            name: 'a',
            is_default: true,
            errors: [
              { subscription: 'default', message: 'no' },
              { subscription: 2, message: 'so' },
            ],
          },
        ],
      },
    },
    { checkpoint_diff: { last_op_id: '4', updated_buckets: [], removed_buckets: ['x', 'y'] } },
    { partial_checkpoint_complete: { last_op_id: '4', priority: 1 } },
    { checkpoint_complete: { last_op_id: '4' } },
    { token_expires_in: 3600 },
    { token_expires_in: 0 },
  ])('%j is the same line', (line) => {
    expect(plain(bsonLines.line(line))).toEqual(line)
  })

  test('integers are Int32, or Int64 when they are larger; never Double', () => {
    const entry = { bucket: 'a', checksum: -2147483648, count: 2147483648, priority: 3, subscriptions: [{ sub: 0 }] }
    const { checkpoint } = typed(bsonLines.line({ checkpoint: { last_op_id: '1', buckets: [entry], streams: [] } }))
    const written: Record<string, { _bsontype: string }> = checkpoint.buckets[0]
    expect(written.checksum?._bsontype).toBe('Int32')
    expect(written.count?._bsontype).toBe('Long')
    expect(String(written.count)).toBe('2147483648')
    expect(written.priority?._bsontype).toBe('Int32')
    expect(checkpoint.buckets[0].subscriptions[0].sub._bsontype).toBe('Int32')
    expect(typed(bsonLines.line({ token_expires_in: 12 })).token_expires_in._bsontype).toBe('Int32')
    for (const value of [
      0,
      -1,
      2147483647,
      -2147483648,
      2147483648,
      4294967295,
      -4294967297,
      Number.MAX_SAFE_INTEGER,
      Number.MIN_SAFE_INTEGER,
    ]) {
      const writer = new BsonWriter(new Uint8Array(4))
      const start = writer.begin()
      writer.integer('n', value)
      writer.end(start)
      const { n } = typed(writer.finish())
      expect([n._bsontype, String(n)]).toEqual([value === (value | 0) ? 'Int32' : 'Long', String(value)])
    }
    expect(() => new BsonWriter(new Uint8Array(4)).integer('n', 1.5)).toThrow(RangeError)
  })

  test('a data line holds every kind of op as it was', () => {
    const row = JSON.stringify({ id: 'a', name: `“ü” ${'🐚'.repeat(300)}\u2028`, big: 'x'.repeat(70_000) })
    const ops = [
      opText(1, put('a', 4294967295, row)),
      opText(2, { op: 'REMOVE', objectType: 'lists', objectId: 'ünï', subkey: '', checksum: 5, data: null }),
      '{"op_id":"3","op":"MOVE","checksum":7}',
      '{"op_id":"4","op":"CLEAR","checksum":2869993394}',
      opText(9007199254740991, put('b', 0, '{}')),
    ]
    const bytes = bsonLines.data({ bucket: 'b["1"]', after: 0, next: 9007199254740991, more: true, ops: ops.join(',') })
    expect(new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true)).toBe(bytes.length)
    expect(plain(bytes)).toEqual({
      data: {
        bucket: 'b["1"]',
        after: '0',
        next_after: '9007199254740991',
        has_more: true,
        data: JSON.parse(`[${ops.join(',')}]`),
      },
    })
    expect(typed(bytes).data.data.map((op: { checksum: { _bsontype: string } }) => op.checksum._bsontype)).toEqual([
      'Long',
      'Int32',
      'Int32',
      'Long',
      'Int32',
    ])
  })

  test('texts of ops with every escape are what JSON says they are; anything else is refused', () => {
    const strings = [
      '',
      '"\\/\b\f\n\r\t',
      '\u0000\u001f\u007f',
      'é€🐚',
      '\u0085\u2028\u2029',
      '{"id":"a","data":"},{\\"op_id\\":"}',
      'x'.repeat(5_000),
    ]
    const texts = strings.map((data, i) => opText(i + 1, { ...put(data, i * 1_000_000_000, data), subkey: data }))
    texts.push(
      '{"op_id":"90","op":"PUT","object_type":"\\u00e9\\u20AC\\ud83d\\udc1a\\/","object_id":"\\u0041","subkey":"","checksum":-5,"data":"{}"}',
    )
    const line = { bucket: 'b', after: 0, next: 90, more: false, ops: texts.join(',') }
    expect(plain(bsonLines.data(line)).data.data).toEqual(JSON.parse(`[${line.ops}]`))
    expect(plain(bsonLines.data({ ...line, ops: '' })).data.data).toEqual([])
    const half =
      '{"op_id":"1","op":"PUT","object_type":"\\ud83d","object_id":"\\udc1a","subkey":"","checksum":1,"data":"{}"}'
    expect(plain(bsonLines.data({ ...line, ops: half })).data.data[0]).toMatchObject({
      object_type: '\ufffd',
      object_id: '\ufffd',
    })
    for (const wrong of [
      '{',
      '{"a":"b',
      '{"a" "b"}',
      '{"a":1.5}',
      '{"a":x}',
      '{"a":1}x',
      '[1]',
      '{"a":99999999999999999999}',
    ]) {
      expect(() => bsonLines.data({ ...line, ops: wrong })).toThrow(SyntaxError)
    }
  })

  test('random ops are what a BSON library reads, and have room', () => {
    const random = randomNumbers(3)
    const alphabet = ['a', '"', '\\', 'é', '€', '🐚', '\u0000', '\n', '\u2028']
    const string = (most: number): string =>
      Array.from({ length: random(most) }, () => alphabet[random(alphabet.length)]).join('')
    for (let n = 0; n < 200; n++) {
      const texts = Array.from({ length: 1 + random(40) }, (_, i) =>
        random(3) === 0
          ? `{"op_id":"${i}","op":"MOVE","checksum":${random(2) * 4_294_967_295}}`
          : opText(i, {
              op: 'PUT',
              objectType: string(5),
              objectId: string(5),
              subkey: string(3),
              checksum: random(2147483647),
              data: string(random(300)),
            }),
      )
      const ops = texts.join(',')
      expect(plain(bsonLines.data({ bucket: string(20), after: 0, next: 1, more: false, ops })).data.data).toEqual(
        JSON.parse(`[${ops}]`),
      )
    }
  })

  test('random lines are what a BSON library reads', () => {
    const random = randomNumbers(1)
    const alphabet = ['a', '"', '\\', 'é', '€', '🐚', '\u0000', '\n', ' ']
    const string = (): string => Array.from({ length: random(400) }, () => alphabet[random(alphabet.length)]).join('')
    const value = (depth: number): unknown => {
      const kind = random(depth > 3 ? 4 : 6)
      if (kind === 0) return string()
      if (kind === 1) return random(2147483646) - 1073741823
      if (kind === 2) return random(2) === 0
      if (kind === 3) return null
      if (kind === 4) return Array.from({ length: random(15) }, () => value(depth + 1))
      return Object.fromEntries(Array.from({ length: random(6) }, (_, i) => [`k${i}é`, value(depth + 1)]))
    }
    for (let n = 0; n < 300; n++) {
      const document = { v: value(0), w: value(0) }
      const writer = new BsonWriter(new Uint8Array(1))
      const start = writer.begin()
      for (const [name, member] of Object.entries(document)) writer.value(name, member)
      writer.end(start)
      expect(plain(writer.finish())).toEqual(document)
    }
  })
})
