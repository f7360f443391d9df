import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Environment } from '../../durable-objects/environment.ts'
import { CLOSE_BAD_FRAME } from '../../protocol/native.ts'
import { MAX_EARLY_FRAMES } from '../stream/limits.ts'
import { NativeStream } from './native.ts'
import { tenantOf } from '../../test/support/tenant.ts'

/** A token whose key is in a set that never answers. */
const token = `${Buffer.from('{"alg":"RS256","kid":"k"}').toString('base64url')}.e30.AAAA`
const environment = { JWKS_URL: 'https://keys.example/set', JWT_AUDIENCE: 'app' } as unknown as Environment

beforeEach(() => vi.stubGlobal('fetch', () => new Promise(() => {})))
afterEach(() => vi.unstubAllGlobals())

/** Of the calls of a WebSocket those that a stream uses. */
function fakeSocket() {
  const sent: unknown[] = []
  const closed: number[] = []
  const socket = { send: (data: unknown) => void sent.push(data), close: (code: number) => void closed.push(code) }
  return { sent, closed, socket: socket as unknown as WebSocket }
}

test('a stranger has only so many frames kept while his token is being verified', async () => {
  const { sent, closed, socket } = fakeSocket()
  const stream = new NativeStream(environment, tenantOf(environment), socket)
  stream.receive(JSON.stringify({ open: {}, token }))
  for (let n = 0; n < MAX_EARLY_FRAMES; n++) stream.receive('{"credit":1}')
  await new Promise((resolve) => setImmediate(resolve))
  expect([sent, closed]).toEqual([[], []])
  stream.receive('{"credit":1}')
  await vi.waitFor(() => expect(closed).toEqual([CLOSE_BAD_FRAME]))
  expect(JSON.parse(String(sent[0])).error).toMatchObject({
    code: 'ROCKPOOL_CLIENT_FRAME',
    message: expect.stringMatching(/more than 16 frames/),
  })
})
