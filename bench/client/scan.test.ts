import { serialize } from 'bson'
import { expect, test } from 'vitest'
import type { SyncLine } from '../../protocol/lines.ts'
import { Scanner } from './scan.ts'

const op = (id: number, data: object) => ({
  op_id: String(id),
  op: 'PUT' as const,
  object_type: 't',
  object_id: String(id),
  subkey: '',
  checksum: id,
  data: JSON.stringify(data),
})
// A text that looks like the beginning of an op.
const tricky = { text: '"op_id":"1" and {"op_id":"2"}' }
const data: SyncLine = {
  data: {
    bucket: 'b"op_id"',
    after: '0',
    next_after: '3',
    has_more: false,
    data: [op(1, tricky), op(2, { a: 1 }), op(3, tricky)],
  },
}
const complete: SyncLine = { checkpoint_complete: { last_op_id: '3' } }

const FORMS = {
  json: (line: SyncLine) => Buffer.from(JSON.stringify(line)),
  bson: (line: SyncLine) => Buffer.from(serialize(line)),
}

function scan(form: 'json' | 'bson', piece: number, verify: boolean) {
  const seen = { ops: 0, bytes: 0, lines: [] as string[] }
  const events = {
    data(bytes: number, ops: number) {
      seen.ops += ops
      seen.bytes += bytes
    },
    line: (line: SyncLine) => void seen.lines.push(Object.keys(line)[0] ?? ''),
  }
  const scanner = new Scanner(form, events, verify)
  for (const line of [data, complete, data]) {
    const bytes = FORMS[form](line)
    for (let at = 0; at < bytes.length; at += piece) scanner.feed(bytes.subarray(at, at + piece))
    scanner.end()
  }
  return seen
}

test.each(['json', 'bson'] as const)('%s: ops and bytes are counted however a line is cut', (form) => {
  const bytes = 2 * FORMS[form](data).length
  for (let piece = 1; piece < 400; piece++)
    expect(scan(form, piece, false), `pieces of ${piece}`).toEqual({ ops: 6, bytes, lines: ['checkpoint_complete'] })
})

test.each(['json', 'bson'] as const)('%s: to be verified, every line is told', (form) => {
  expect(scan(form, 7, true)).toEqual({
    ops: 6,
    bytes: 2 * FORMS[form](data).length,
    lines: ['data', 'checkpoint_complete', 'data'],
  })
})
