import { Alert, violation } from './alerts.ts'
import { concat, u24, type Bytes } from './wire.ts'

// RFC 8446 sections 4 and 5.1: messages of the handshake, cut into records and joined again.

export interface Message {
  type: number
  body: Bytes
  /** The message with its header, as in the transcript. */
  raw: Bytes
}

export const message = (type: number, ...parts: ArrayLike<number>[]): Bytes => {
  const body = concat(...parts)
  return concat([type], u24(body.length), body)
}

/** The most bytes of a message, and the most records into which it may be cut. */
export const MAX_MESSAGE = 128 * 1024
export const MAX_MESSAGE_RECORDS = 64

const HEAD = 4

/**
 * Joins messages from records. Parts stay in a list until a message is complete, because joining them one by one would
 * copy gigabytes for a message in records of one byte.
 */
export class Fragments {
  #parts: Bytes[] = []
  #length = 0
  #records = 0

  get empty(): boolean {
    return this.#length === 0
  }

  /** Adds the content of one record. */
  add(data: Bytes): void {
    if (data.length === 0) throw violation(Alert.unexpectedMessage, 'a part of a message is empty')
    this.#parts.push(data)
    this.#length += data.length
    this.#records++
  }

  /** Returns the next whole message, or null. */
  take(): Message | null {
    const length = this.#expected()
    if (length === null || this.#length < length) {
      if (this.#records >= MAX_MESSAGE_RECORDS)
        throw violation(Alert.decodeError, 'a message is cut into too many records')
      return null
    }
    const all = this.#parts.length === 1 ? (this.#parts[0] as Bytes) : concat(...this.#parts)
    const rest = all.subarray(length)
    this.#parts = rest.length === 0 ? [] : [rest]
    this.#length = rest.length
    this.#records = this.#parts.length
    const raw = all.subarray(0, length)
    return { type: raw[0] as number, body: raw.subarray(HEAD), raw }
  }

  /** Returns the size of the message that has begun, or null while its header is incomplete. */
  #expected(): number | null {
    if (this.#length < HEAD) return null
    const head: number[] = []
    for (const part of this.#parts) {
      head.push(...part.subarray(0, HEAD - head.length))
      if (head.length === HEAD) break
    }
    const [, high = 0, middle = 0, low = 0] = head
    const length = (high << 16) | (middle << 8) | low
    if (length > MAX_MESSAGE) throw violation(Alert.decodeError, 'a message is too long')
    return HEAD + length
  }
}
