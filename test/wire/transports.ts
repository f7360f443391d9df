import type { StreamRequest, SyncLine } from '../../protocol/lines.ts'
import { HttpLines } from './lines.ts'
import { RSocketClient } from './rsocket.ts'
import { RawWebSocket } from './web-socket.ts'

export interface StreamTarget {
  url: string
  token: string
  request: StreamRequest
  /** Cuts the connection, wherever it stands. */
  signal: AbortSignal
}

/** Opens a stream and gives its lines. Returns at a clean end, throws when it is refused or breaks. */
export type Transport = (to: StreamTarget) => AsyncIterable<SyncLine>

export async function* ndjson({ url, token, request, signal }: StreamTarget): AsyncIterable<SyncLine> {
  const response = await fetch(`${url}/sync/stream`, {
    method: 'POST',
    headers: { authorization: `Token ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(request),
    signal,
  })
  if (!response.ok || !response.body)
    throw new Error(`the stream was answered ${response.status}: ${await response.text()}`)
  let rest = ''
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + part).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) if (line !== '') yield JSON.parse(line) as SyncLine
  }
}

export async function* bson({ url, token, request, signal }: StreamTarget): AsyncIterable<SyncLine> {
  const lines = await HttpLines.open(url, token, request, { accept: 'application/vnd.powersync.bson-stream' }, signal)
  try {
    if (lines.response.statusCode !== 200) throw new Error(`the stream was answered ${lines.response.statusCode}`)
    for (;;) {
      signal.throwIfAborted()
      const line = await lines.next()
      if (line === 'end') return
      if (line === 'broken') throw new Error('the body broke')
      yield line
    }
  } finally {
    lines.close()
  }
}

const LINES = 20
const LIFETIME_MS = 15 * 60 * 1_000

/** `mime`: of SETUP. */
export const rsocket = (mime: 'application/json' | 'application/bson'): Transport =>
  async function* ({ url, token, request, signal }) {
    const client = await RSocketClient.open(url, undefined, signal)
    try {
      client.setup({ token, mime, lifetimeMs: LIFETIME_MS })
      client.request(LINES, request)
      for (let received = 1; ; received++) {
        const line = await client.line()
        if (line === null) return
        if (received % (LINES / 2) === 0) client.requestN(LINES / 2)
        yield line
      }
    } finally {
      client.socket.destroy()
    }
  }

const CREDIT = 500_000

export async function* native({ url, token, request, signal }: StreamTarget): AsyncIterable<SyncLine> {
  const socket = await RawWebSocket.open(url, undefined, signal)
  try {
    socket.send(JSON.stringify({ open: request, token, credit: CREDIT }))
    let received = 0
    for (;;) {
      const message = await socket.next()
      if (typeof message === 'object' && 'closed' in message) {
        if (message.closed === 4503) return
        throw new Error(`closed with ${message.closed} ${message.reason}`)
      }
      if (typeof message !== 'string') throw new Error('a binary message')
      const line: SyncLine | { error: { code: string; message: string } } = JSON.parse(message)
      if ('error' in line) throw new Error(`${line.error.code} ${line.error.message}`)
      received += Buffer.byteLength(message)
      if (received > CREDIT / 4) {
        socket.send(JSON.stringify({ credit: received }))
        received = 0
      }
      yield line
    }
  } finally {
    socket.destroy()
  }
}
