import { expect, test } from 'vitest'
import type { DataLine } from '../../protocol/lines.ts'
import { joinedLines } from './joined.ts'
import { textLines } from '../transports/lines.ts'

const data = (length: number): DataLine => ({ bucket: 'b', after: 0, next: 1, more: false, ops: 'x'.repeat(length) })
const announced = { checkpoint_diff: { last_op_id: '1', updated_buckets: [], removed_buckets: [] } }
const complete = { checkpoint_complete: { last_op_id: '1' } }

function setting(limit?: number) {
  const written: string[] = []
  const stop = new AbortController()
  const output = {
    signal: stop.signal,
    room: async () => void written.push('room'),
    write: async (text: string) => void written.push(text),
  }
  return { written, stop, lines: joinedLines(textLines, (each) => each.join('\n'), output, limit) }
}

test('lines of a small checkpoint leave together at its end, in order', async () => {
  const { lines, written } = setting()
  await lines.send(announced)
  await lines.data(data(10))
  expect(written).toEqual([])
  await lines.send(complete)
  expect(written).toEqual([[textLines.line(announced), textLines.data(data(10)), textLines.line(complete)].join('\n')])
  await lines.send(complete)
  expect(written).toHaveLength(2)
})

test('what is kept back leaves before anything is waited for, and a large line does not wait', async () => {
  const { lines, written } = setting()
  await lines.send(announced)
  await lines.room()
  await lines.data(data(3_000))
  await lines.data(data(3_000))
  await lines.data(data(10_000))
  await lines.send(complete)
  expect(written).toEqual([
    textLines.line(announced),
    'room',
    ...[3_000, 3_000, 10_000].map((length) => textLines.data(data(length))),
    textLines.line(complete),
  ])
})

test('without a limit to keep, each line leaves at once; nothing does when the receiver has gone', async () => {
  const { lines, written, stop } = setting(0)
  await lines.send(announced)
  await lines.send(complete)
  expect(written).toEqual([textLines.line(announced), textLines.line(complete)])
  stop.abort(new Error('gone'))
  await expect(lines.send(complete)).rejects.toThrow('gone')
  expect(written).toHaveLength(2)
})
