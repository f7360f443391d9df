import { expect, test } from 'vitest'
import { RESPONSE_BUFFER_BYTES } from '../stream/limits.ts'
import { ResponseBody } from './response-body.ts'

const PIECE = RESPONSE_BUFFER_BYTES
const turn = () => new Promise((resolve) => setImmediate(resolve))

test('what the runtime is writing counts as held until it asks for more, and nothing is read ahead of that', async () => {
  const body = new ResponseBody(new AbortController())
  const bytes = Uint8Array.from({ length: 3 * PIECE + 10 }, (_, n) => n % 251)
  body.write(bytes)
  const reader = body.readable.getReader()
  const came: Uint8Array[] = []
  for (const left of [3 * PIECE + 10, 2 * PIECE + 10, PIECE + 10]) {
    const { value } = await reader.read()
    if (value) came.push(value)
    await turn()
    expect([value?.length, value?.buffer.byteLength]).toEqual([PIECE, PIECE])
    expect(body.held.bytes).toBe(left)
    expect(body.hasRoom).toBe(false)
  }
  let room = false
  void body.room().then(() => (room = true))
  const last = await reader.read()
  if (last.value) came.push(last.value)
  await turn()
  expect([body.held.bytes, room]).toEqual([10, true])
  const more = reader.read()
  await turn()
  expect(body.held.bytes).toBe(0)
  body.write(Uint8Array.of(7))
  expect((await more).value).toEqual(Uint8Array.of(7))
  expect(Buffer.concat(came).equals(bytes)).toBe(true)
})

test('a clean end comes behind all that was written, and a broken one at once', async () => {
  for (const clean of [true, false]) {
    const stop = new AbortController()
    const body = new ResponseBody(stop)
    body.write(new Uint8Array(2 * PIECE))
    const reader = body.readable.getReader()
    expect((await reader.read()).value).toHaveLength(PIECE)
    if (clean) stop.abort(new Error('the token has expired'))
    body.finish(new Error('why'))
    if (clean) {
      expect((await reader.read()).value).toHaveLength(PIECE)
      expect((await reader.read()).done).toBe(true)
    } else await expect(reader.read()).rejects.toThrow('why')
  }
})
