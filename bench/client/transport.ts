import { randomBytes } from 'node:crypto'
import { request } from 'node:http'
import { connect } from 'node:net'
import type { StreamRequest } from '../../protocol/lines.ts'
import { decoded } from '../../test/wire/decoded.ts'
import { Scanner, type LineEvents } from './scan.ts'

/** `gzip` and `zstd` are compressed NDJSON. */
export type Transport = 'ndjson' | 'gzip' | 'zstd' | 'bson' | 'native'
type HttpTransport = Exclude<Transport, 'native'>

/** Only browsers get zstd: this is one by its words. */
const ENCODINGS: Record<HttpTransport, Record<string, string>> = {
  ndjson: {},
  bson: {},
  gzip: { 'accept-encoding': 'gzip' },
  zstd: { 'accept-encoding': 'zstd', 'sec-ch-ua': '"Chromium"' },
}

export interface OpenRequest {
  url: string
  token: string
  request: StreamRequest
  verify: boolean
}

export interface StreamEvents extends LineEvents {
  /** Called with the number of bytes that arrived, as they were sent. */
  received(bytes: number): void
}

export interface Connection {
  /** Ends the connection as a network failure does. */
  destroy(): void
}

/** Opens a stream. `ended` is called once, also when it cannot be opened. */
export function open(
  transport: Transport,
  options: OpenRequest,
  events: StreamEvents,
  ended: (why: string) => void,
): Connection {
  let over = false
  const once = (why: string): void => {
    if (over) return
    over = true
    ended(why)
  }
  return transport === 'native' ? native(options, events, once) : http(transport, options, events, once)
}

function http(
  transport: HttpTransport,
  options: OpenRequest,
  events: StreamEvents,
  ended: (why: string) => void,
): Connection {
  const headers = {
    'content-type': 'application/json',
    authorization: `Token ${options.token}`,
    accept: transport === 'bson' ? 'application/vnd.powersync.bson-stream' : 'application/x-ndjson',
    ...ENCODINGS[transport],
  }
  const scanner = new Scanner(transport === 'bson' ? 'bson' : 'json', events, options.verify)
  const split = transport === 'bson' ? documents(scanner) : lines(scanner)
  const posted = request(`${options.url}/sync/stream`, { method: 'POST', headers, agent: false }, (response) => {
    if (response.statusCode !== 200) {
      response.resume()
      return ended(`the stream was answered ${response.statusCode}`)
    }
    const body = decoded(response, events.received)
    body.on('data', split)
    body.on('error', (error) => ended(error.message))
    body.on('close', () => ended('the body ended'))
  })
  posted.on('error', (error) => ended(error.message))
  posted.end(JSON.stringify({ raw_data: true, ...options.request }))
  return { destroy: () => posted.destroy() }
}

function lines(scanner: Scanner): (chunk: Buffer) => void {
  return (chunk) => {
    let from = 0
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      scanner.feed(chunk.subarray(from, end))
      scanner.end()
      from = end + 1
    }
    if (from < chunk.length) scanner.feed(chunk.subarray(from))
  }
}

function documents(scanner: Scanner): (chunk: Buffer) => void {
  let head: Buffer = Buffer.alloc(0)
  let left = 0
  return (chunk) => {
    let from = 0
    while (from < chunk.length) {
      if (left === 0) {
        const missing = chunk.subarray(from, from + 4 - head.length)
        head = Buffer.concat([head, missing])
        from += missing.length
        if (head.length < 4) return
        left = head.readInt32LE(0) - 4
        scanner.feed(head)
        head = Buffer.alloc(0)
      }
      const part = chunk.subarray(from, from + left)
      from += part.length
      left -= part.length
      if (part.length > 0) scanner.feed(part)
      if (left === 0) scanner.end()
    }
  }
}

const CREDIT = 665_000
const GIVE_BACK = 128 * 1024

/** Our own WebSocket protocol over a bare socket: nothing between it and the scanner copies or decodes. */
function native(options: OpenRequest, events: StreamEvents, ended: (why: string) => void): Connection {
  const { hostname, port } = new URL(options.url)
  const socket = connect(Number(port), hostname)
  socket.setNoDelay(true)
  const key = randomBytes(16).toString('base64')
  const upgrade = [
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${key}`,
  ]
  socket.write(`GET /sync/stream HTTP/1.1\r\nHost: ${hostname}:${port}\r\n${upgrade.join('\r\n')}\r\n\r\n`)
  const scanner = new Scanner('json', events, options.verify)
  const feed = lines(scanner)
  let untold = 0
  const send = (frame: object): void => void socket.write(textFrame(JSON.stringify(frame)))
  const frames = frameParser({
    part: (bytes) => {
      events.received(bytes.length)
      feed(bytes)
      untold += bytes.length
      if (untold < GIVE_BACK) return
      send({ credit: untold })
      untold = 0
    },
    message: () => scanner.end(),
    close: (code) => {
      ended(`closed with ${code}`)
      socket.destroy()
    },
  })
  let rest: Buffer | null = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    if (rest === null) return frames(chunk)
    rest = Buffer.concat([rest, chunk])
    const end = rest.indexOf('\r\n\r\n')
    if (end < 0) return
    const status = rest.toString('latin1', 0, rest.indexOf('\r\n'))
    if (!status.includes(' 101 ')) {
      ended(status)
      socket.destroy()
      return
    }
    send({ open: options.request, token: options.token, credit: CREDIT, joined: true })
    const more = rest.subarray(end + 4)
    rest = null
    frames(more)
  })
  socket.on('error', (error) => ended(error.message))
  socket.on('close', () => ended('the socket closed'))
  return { destroy: () => socket.destroy() }
}

interface FrameEvents {
  part(bytes: Buffer): void
  message(): void
  close(code: number): void
}

/** Parses frames of a server, which are not masked. */
function frameParser(events: FrameEvents): (chunk: Buffer) => void {
  let head: Buffer = Buffer.alloc(0)
  let left = -1
  let [opcode, final] = [0, false]
  const control: Buffer[] = []
  const finish = (): void => {
    left = -1
    if (opcode === 8) events.close(control.length > 0 ? Buffer.concat(control).readUInt16BE(0) : 1005)
    else if (opcode <= 2 && final) events.message()
    control.length = 0
  }
  return (chunk) => {
    for (let from = 0; from < chunk.length;) {
      if (left < 0) {
        head = Buffer.concat([head, chunk.subarray(from, from + 1)])
        from++
        if (head.length < 2) continue
        const short = (head[1] ?? 0) & 127
        const needed = short === 126 ? 4 : short === 127 ? 10 : 2
        if (head.length < needed) continue
        left = short === 126 ? head.readUInt16BE(2) : short === 127 ? Number(head.readBigUInt64BE(2)) : short
        opcode = (head[0] ?? 0) & 15
        final = ((head[0] ?? 0) & 128) !== 0
        head = Buffer.alloc(0)
        if (left === 0) finish()
        continue
      }
      const part = chunk.subarray(from, from + left)
      from += part.length
      left -= part.length
      if (opcode <= 2) events.part(part)
      else control.push(part)
      if (left === 0) finish()
    }
  }
}

/** Makes a masked text frame. The mask is zero. */
function textFrame(text: string): Buffer {
  const { length } = Buffer.from(text)
  if (length < 126) return Buffer.concat([Buffer.from([0x81, 0x80 | length, 0, 0, 0, 0]), Buffer.from(text)])
  if (length < 65_536)
    return Buffer.concat([Buffer.from([0x81, 0xfe, length >> 8, length & 255, 0, 0, 0, 0]), Buffer.from(text)])
  const head = Buffer.alloc(14)
  head.writeUInt16BE(0x81ff)
  head.writeBigUInt64BE(BigInt(length), 2)
  return Buffer.concat([head, Buffer.from(text)])
}
