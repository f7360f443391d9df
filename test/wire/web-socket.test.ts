import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { RawWebSocket } from './web-socket.ts'

// What a client of the tests waits for, it must not wait for without an end.

test('a WebSocket whose server goes before it answers is refused, and one that nobody answers can be cut', async () => {
  const cut = new AbortController()
  const server = createServer((socket) =>
    socket.once('data', (request) => (request.includes('/silent') ? cut.abort() : socket.end())),
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const url = `http://127.0.0.1:${address.port}`
  await expect(RawWebSocket.open(url)).rejects.toThrow('closed before it was answered')
  await expect(RawWebSocket.open(url, '/silent', cut.signal)).rejects.toThrow('abort')
  server.close()
})
