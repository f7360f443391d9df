import { connect } from 'cloudflare:sockets'
import { connectTls } from '../../postgres/tls/connection.ts'
import type { TlsAnswer, TlsWish } from '../tls/wish.ts'

export default {
  async fetch(request: Request): Promise<Response> {
    const { port, host = 'localhost', echo, deadlineMs = 5_000, recordsOfAKey }: TlsWish = await request.json()
    const answer: TlsAnswer = { outcome: '', chunks: 0, handshakeMs: 0, ms: 0 }
    const began = Date.now()
    try {
      const transport = connect({ hostname: '127.0.0.1', port }, { allowHalfOpen: false })
      const options = { host, verify: () => {}, signal: AbortSignal.timeout(deadlineMs) }
      const socket = await connectTls(transport, recordsOfAKey === undefined ? options : { ...options, recordsOfAKey })
      answer.handshakeMs = Date.now() - began
      Object.assign(answer, { suite: socket.suite, group: socket.group, alpn: socket.alpn })
      let length = 0
      const reader = socket.readable.getReader()
      const written = echo === undefined ? null : socket.writable.getWriter().write(numbered(echo))
      while (echo === undefined || length < echo) {
        const { value } = await reader.read()
        if (!value) break
        answer.chunks++
        if (echo !== undefined && value.some((byte, i) => byte !== ((length + i) * 7) % 256)) throw new Error('another echo')
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
