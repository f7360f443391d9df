/**
 * Frames of RSocket 1.0 in WebSocket messages: one per message, without the length that precedes them on TCP. A frame
 * has the stream id, six bits of type, ten bits of flags, and the fields of its type. All integers are big-endian.
 */
export const FrameType = {
  SETUP: 0x01,
  LEASE: 0x02,
  KEEPALIVE: 0x03,
  REQUEST_RESPONSE: 0x04,
  REQUEST_FNF: 0x05,
  REQUEST_STREAM: 0x06,
  REQUEST_CHANNEL: 0x07,
  REQUEST_N: 0x08,
  CANCEL: 0x09,
  PAYLOAD: 0x0a,
  ERROR: 0x0b,
  METADATA_PUSH: 0x0c,
  RESUME: 0x0d,
} as const

export const Flag = {
  IGNORE: 0x200,
  METADATA: 0x100,
  /**
   * In a request or payload: more fragments follow. In a KEEPALIVE: an answer is wanted. In a SETUP: the session can be
   * resumed.
   */
  FOLLOWS: 0x80,
  RESPOND: 0x80,
  RESUME: 0x80,
  /** In a payload: it is the last one. In a SETUP: requests need a lease. */
  COMPLETE: 0x40,
  LEASE: 0x40,
  NEXT: 0x20,
} as const

export const ErrorCode = {
  INVALID_SETUP: 0x001,
  UNSUPPORTED_SETUP: 0x002,
  REJECTED_SETUP: 0x003,
  CONNECTION_ERROR: 0x101,
  CONNECTION_CLOSE: 0x102,
  APPLICATION_ERROR: 0x201,
  REJECTED: 0x202,
  CANCELED: 0x203,
  INVALID: 0x204,
} as const

export interface Payload {
  /** Null when the frame has no metadata, which is not the same as empty metadata. */
  metadata: Uint8Array | null
  data: Uint8Array
}

interface Base {
  streamId: number
  flags: number
}

export type Frame = Base &
  (
    | ({
        type: 'setup'
        major: number
        minor: number
        keepaliveMs: number
        lifetimeMs: number
        metadataMime: string
        dataMime: string
      } & Payload)
    | { type: 'keepalive'; position: bigint; data: Uint8Array }
    | ({ type: 'request-stream'; initialN: number } & Payload)
    | { type: 'request-n'; n: number }
    | { type: 'cancel' }
    | ({ type: 'payload' } & Payload)
    | { type: 'error'; code: number; message: string }
    /** A type that is not supported: other interactions, leases, resumption. */
    | { type: 'other'; number: number }
  )

/** Thrown for bytes that are not an RSocket frame. */
export class FrameError extends Error {
  override readonly name = 'FrameError'
}

/** Throws FrameError. */
export function decodeFrame(bytes: Uint8Array): Frame {
  const reader = new Reader(bytes)
  const streamId = reader.uint32()
  if (streamId > 0x7fffffff) throw new FrameError('the highest bit of a stream id must be 0')
  const head = reader.uint16()
  const base = { streamId, flags: head & 0x3ff }
  const number = head >>> 10
  switch (number) {
    case FrameType.SETUP:
      return { ...base, ...setup(reader, base.flags) }
    case FrameType.KEEPALIVE:
      return { ...base, type: 'keepalive', position: reader.uint64(), data: reader.rest() }
    case FrameType.REQUEST_STREAM:
      return { ...base, type: 'request-stream', initialN: reader.uint31(), ...payload(reader, base.flags) }
    case FrameType.REQUEST_N:
      return { ...base, type: 'request-n', n: reader.uint31() }
    case FrameType.CANCEL:
      return { ...base, type: 'cancel' }
    case FrameType.PAYLOAD:
      return { ...base, type: 'payload', ...payload(reader, base.flags) }
    case FrameType.ERROR:
      return { ...base, type: 'error', code: reader.uint32(), message: utf8(reader.rest()) }
    default:
      return { ...base, type: 'other', number }
  }
}

function setup(reader: Reader, flags: number) {
  const major = reader.uint16()
  const minor = reader.uint16()
  const keepaliveMs = reader.uint31()
  const lifetimeMs = reader.uint31()
  if (flags & Flag.RESUME) reader.take(reader.uint16())
  const metadataMime = utf8(reader.take(reader.uint8()))
  const dataMime = utf8(reader.take(reader.uint8()))
  return {
    type: 'setup' as const,
    major,
    minor,
    keepaliveMs,
    lifetimeMs,
    metadataMime,
    dataMime,
    ...payload(reader, flags),
  }
}

function payload(reader: Reader, flags: number): Payload {
  const metadata = flags & Flag.METADATA ? reader.take(reader.uint24()) : null
  return { metadata, data: reader.rest() }
}

class Reader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  take(count: number): Uint8Array {
    const from = this.#at
    if (from + count > this.#bytes.length)
      throw new FrameError(`the frame ends after ${this.#bytes.length} bytes, in the middle of a field`)
    this.#at += count
    return this.#bytes.subarray(from, this.#at)
  }

  rest(): Uint8Array {
    return this.take(this.#bytes.length - this.#at)
  }

  uint8(): number {
    return this.#view.getUint8(this.#skip(1))
  }

  uint16(): number {
    return this.#view.getUint16(this.#skip(2))
  }

  uint24(): number {
    return this.uint8() * 0x10000 + this.uint16()
  }

  uint32(): number {
    return this.#view.getUint32(this.#skip(4))
  }

  uint31(): number {
    const value = this.uint32()
    if (value > 0x7fffffff) throw new FrameError('a number takes 31 bits')
    return value
  }

  uint64(): bigint {
    return this.#view.getBigUint64(this.#skip(8))
  }

  #skip(count: number): number {
    const from = this.#at
    this.take(count)
    return from
  }
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()
const utf8 = (bytes: Uint8Array): string => decoder.decode(bytes)

/** Returns a frame with room for `length` bytes after its header. */
function frame(streamId: number, type: number, flags: number, length: number): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(6 + length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, streamId)
  view.setUint16(4, (type << 10) | flags)
  return { bytes, view }
}

/** Returns a PAYLOAD with data and without metadata. */
export function nextFrame(streamId: number, data: Uint8Array): Uint8Array {
  const { bytes } = frame(streamId, FrameType.PAYLOAD, Flag.NEXT, data.length)
  bytes.set(data, 6)
  return bytes
}

/** Returns the frame that ends a stream without an error. */
export const completeFrame = (streamId: number): Uint8Array =>
  frame(streamId, FrameType.PAYLOAD, Flag.COMPLETE, 0).bytes

export function errorFrame(streamId: number, code: number, message: string): Uint8Array {
  const text = encoder.encode(message)
  const { bytes, view } = frame(streamId, FrameType.ERROR, 0, 4 + text.length)
  view.setUint32(6, code)
  bytes.set(text, 10)
  return bytes
}

export function keepaliveFrame(data: Uint8Array, respond: boolean): Uint8Array {
  const { bytes } = frame(0, FrameType.KEEPALIVE, respond ? Flag.RESPOND : 0, 8 + data.length)
  bytes.set(data, 14)
  return bytes
}
