import { connect } from 'cloudflare:sockets'
import { SSL_REQUEST } from '../../sources/postgres/wire/tls.ts'
import { connectTls } from '../../sources/postgres/tls/connection.ts'
import type { TlsAnswer, TlsWish } from '../tls/wish.ts'

export default {
  async fetch(request: Request): Promise<Response> {
    const { port, host = 'localhost', echo, deadlineMs = 5_000, recordsOfAKey, startup }: TlsWish = await request.json()
    const answer: TlsAnswer = { outcome: '', chunks: 0, handshakeMs: 0, ms: 0 }
    const began = Date.now()
    try {
      const transport = connect({ hostname: '127.0.0.1', port }, { allowHalfOpen: false })
      if (startup) await askTls(transport)
      const options = { host, verify: () => {}, signal: AbortSignal.timeout(deadlineMs) }
      const socket = await connectTls(transport, recordsOfAKey === undefined ? options : { ...options, recordsOfAKey })
      answer.handshakeMs = Date.now() - began
      Object.assign(answer, { suite: socket.suite, group: socket.group, alpn: socket.alpn })
      if (startup) {
        await socket.writable.getWriter().write(new Uint8Array(startup))
        const { value } = await socket.readable.getReader().read()
        answer.outcome = String.fromCharCode(...(value?.subarray(0, 1) ?? []))
        await socket.close()
        return Response.json(answer)
      }
      let length = 0
      const reader = socket.readable.getReader()
      const written = echo === undefined ? null : socket.writable.getWriter().write(numbered(echo))
      while (echo === undefined || length < echo) {
        const { value } = await reader.read()
        if (!value) break
        answer.chunks++
        if (echo !== undefined && value.some((byte, i) => byte !== ((length + i) * 7) % 256))
          throw new Error('another echo')
        length += value.length
      }
      await written
      answer.outcome = `read ${length}`
      await socket.close()
      await socket.closed
    } catch (error) {
      answer.outcome = error instanceof Error ? error.message : String(error)
      if (error instanceof Error && 'code' in error) answer.code = String(error.code)
    }
    answer.ms = Date.now() - began
    return Response.json(answer)
  },
}

const numbered = (length: number) => new Uint8Array(length).map((_, i) => i * 7)

async function askTls(transport: Socket): Promise<void> {
  const writer = transport.writable.getWriter()
  const reader = transport.readable.getReader()
  await writer.write(SSL_REQUEST)
  const { value } = await reader.read()
  writer.releaseLock()
  reader.releaseLock()
  if (value?.[0] !== 0x53) throw new Error('no TLS')
}
