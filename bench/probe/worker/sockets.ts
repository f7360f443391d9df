import { connect } from 'cloudflare:sockets'
import type { ConnectAnswer } from '../messages.ts'

/** "Do you speak TLS?": whoever is Postgres answers it with one byte, and waits. */
const SSL_REQUEST = new Uint8Array([0, 0, 0, 8, 4, 210, 22, 47])
const CONNECT_MS = 10_000

/** `address`: HOST:PORT, an IPv6 address in brackets. Throws when it is not reached within 10 s. */
async function open(address: string): Promise<Socket> {
  const socket = connect(address, { allowHalfOpen: false })
  socket.closed.catch(() => {})
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>(
    (_, reject) => (timer = setTimeout(() => reject(new Error(`no answer in ${CONNECT_MS} ms`)), CONNECT_MS)),
  )
  try {
    await Promise.race([socket.opened, late])
    return socket
  } catch (error) {
    void socket.close().catch(() => {})
    throw error
  } finally {
    clearTimeout(timer)
  }
}

export async function reached(address: string): Promise<ConnectAnswer> {
  const began = Date.now()
  try {
    const socket = await open(address)
    void socket.close().catch(() => {})
    return { ms: Date.now() - began, error: null }
  } catch (error) {
    return { ms: Date.now() - began, error: error instanceof Error ? error.message : String(error) }
  }
}

/** So many connections that stay open until the function is called that this returns. */
export async function hold(address: string, count: number): Promise<() => void> {
  const sockets = await Promise.all(Array.from({ length: count }, () => open(address)))
  return () => sockets.forEach((socket) => void socket.close().catch(() => {}))
}

/** Returns the milliseconds from a question over a connection of its own to the first byte that comes back. */
export async function answersOf(address: string): Promise<number> {
  const socket = await open(address)
  try {
    const began = Date.now()
    await socket.writable.getWriter().write(SSL_REQUEST)
    await socket.readable.getReader().read()
    return Date.now() - began
  } finally {
    void socket.close().catch(() => {})
  }
}
