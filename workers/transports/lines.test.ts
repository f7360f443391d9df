import { describe, expect, test } from 'vitest'
import { opText } from '../../protocol/op-text.ts'
import { cutData, dataText, lineText, ndjsonLines, nestedLines } from './lines.ts'

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
const op = (id: number, data: string) =>
  opText(id, { op: 'PUT', objectType: 't', objectId: `o${id}`, subkey: 's', checksum: id, data })

describe('NDJSON', () => {
  test('a line ends with a line feed, and nothing in it breaks lines', () => {
    const breaks = '\n\r\u000b\u000c\u0085\u2028\u2029'
    const data = JSON.stringify({ id: 'a', text: breaks })
    const lines = [
      ndjsonLines.line({
        checkpoint: { last_op_id: '1', buckets: [], streams: [{ name: breaks, is_default: true, errors: [] }] },
      }),
      ndjsonLines.data({ bucket: `b["${breaks}"]`, after: 0, next: 1, more: false, ops: op(1, data) }),
      nestedLines.data({ bucket: `b["${breaks}"]`, after: 0, next: 1, more: false, ops: op(1, data) }),
    ].map(text)
    for (const line of lines) {
      expect(line.endsWith('\n')).toBe(true)
      for (const character of breaks) expect(line.slice(0, -1)).not.toContain(character)
      expect(Object.keys(JSON.parse(line)).length).toBe(1)
    }
    expect(JSON.parse(JSON.parse(lines[1] ?? '').data.data[0].data)).toEqual({ id: 'a', text: breaks })
    expect(JSON.parse(lines[2] ?? '').data.data[0].data).toEqual({ id: 'a', text: breaks })
  })

  test('ids are strings, numbers are numbers, and ops are copied', () => {
    const ops = [op(1, '{"id":"a"}'), '{"op_id":"2","op":"MOVE","checksum":3}'].join(',')
    expect(dataText({ bucket: 'b', after: 0, next: 2, more: false, ops })).toBe(
      `{"data":{"bucket":"b","after":"0","next_after":"2","has_more":false,"data":[${ops}]}}`,
    )
    expect(lineText({ token_expires_in: 12 })).toBe('{"token_expires_in":12}')
  })

  test('without raw_data the row is an object, with every digit', () => {
    const row = '{"id":"a","n":9007199254740993,"r":1.0,"t":",\\"data\\":\\"x\\"}"}'
    const remove = opText(3, {
      op: 'REMOVE',
      objectType: ',"data":"',
      objectId: 'a',
      subkey: 's',
      checksum: 4294967295,
      data: null,
    })
    const ops = [op(1, row), '{"op_id":"2","op":"CLEAR","checksum":4294967295}', remove].join(',')
    const line = text(nestedLines.data({ bucket: 'b', after: 0, next: 3, more: false, ops }))
    expect(line).toContain(`"subkey":"s","checksum":1,"data":${row}}`)
    expect(JSON.parse(line).data.data.map((each: { data: unknown }) => each.data)).toEqual([
      JSON.parse(row),
      undefined,
      null,
    ])
    expect(line).toContain('"checksum":4294967295')
  })
})

describe('cutting a data line', () => {
  const ops = Array.from({ length: 10 }, (_, i) => op((i + 1) * 3, '{}'))
  const line = { bucket: 'b', after: 2, next: 30, more: false, ops: ops.join(',') }

  test('nothing is lost, each piece goes on where the last one ended, and only the last one says that nothing more comes', () => {
    const sizes = [10, 10, 250, 10_000]
    const pieces = [...cutData(line, () => sizes.shift() ?? 10)]
    expect(pieces.map((piece) => piece.ops).join(',')).toBe(line.ops)
    expect(pieces.map(({ after, next, more }) => [after, next, more])).toEqual([
      [2, 3, true],
      [3, 9, true],
      [9, 30, false],
    ])
  })

  test('a line that fits is not touched, and one op is never cut', () => {
    expect([...cutData(line, () => line.ops.length)]).toEqual([line])
    expect([...cutData({ ...line, more: true }, () => 1)].map(({ more }) => more)).toEqual(Array(10).fill(true))
  })
})
