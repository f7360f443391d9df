import { Alert, broken, truncated, unsuitable, violation } from './alerts.ts'
import { ContentType, MAX_CIPHERTEXT, MAX_PLAINTEXT, VERSION_12, VERSION_13 } from './parameters.ts'
import type { RawRecord } from './protection.ts'
import { OVERHEAD_12 } from './protection-12.ts'
import { MIN_CIPHERTEXT } from './protection-13.ts'
import type { Bytes } from './wire.ts'

// RFC 8446 section 5.1, RFC 5246 section 6.2: bytes of the transport, cut into records. They are not opened here.

/** What may arrive: plain records; encrypted ones and change_cipher_spec (1.3); or encrypted records only. */
export type Phase = 'plain' | 'handshake' | 'data'

const HEADER = 5
/** Bytes of a read. With a smaller buffer, a row of a few hundred bytes costs a read of its own. */
const READ_BYTES = 64 * 1024
/** Milliseconds to wait for a read after the socket was closed: workerd may never answer it (2026-10). */
const GONE_MS = 1_000

export class Framing {
  readonly #reader: ByteReader
  #buffer = new Uint8Array(READ_BYTES + HEADER + MAX_CIPHERTEXT)
  #start = 0
  #end = 0
  /** True when a record before ServerHello had the number of an older version. */
  #older = false
  /** The version of the connection, or null until it is known. */
  #version: number | null = null

  constructor(readable: ReadableStream<Uint8Array>) {
    this.#reader = byteReader(readable)
  }

  /**
   * Returns all whole records that have arrived, at least one, or none when the transport has ended. Their content is
   * valid until the next call.
   */
  async take(phase: Phase): Promise<RawRecord[]> {
    for (;;) {
      const records: RawRecord[] = []
      try {
        for (let record = this.#next(phase); record !== null; record = this.#next(phase)) records.push(record)
      } catch (error) {
        // The records before it count. The bad one is still in the buffer, and fails the next call.
        if (records.length === 0) throw error
      }
      if (records.length > 0 || !(await this.#read())) return records
    }
  }

  /** Returns one record, for the handshake, where each may change the keys, or null when the transport has ended. */
  async takeOne(phase: Phase): Promise<RawRecord | null> {
    for (;;) {
      const record = this.#next(phase)
      if (record !== null || !(await this.#read())) return record
    }
  }

  /**
   * 5.1: every record of a server that speaks 1.3 has the number of 1.2, as in 1.2 itself. A record with an older
   * number, as an older server sends to say its version, is an error from here on.
   */
  settle(version: number): void {
    if (this.#older) throw wrongRecord('has another version')
    this.#version = version
  }

  /** Stops reading. A pending read fails with `reason`. */
  stop(reason: unknown): void {
    this.#reader.stop(reason)
  }

  /**
   * The transport has been closed. What arrived before is read to its end, but a read that yields nothing more is not
   * waited for.
   */
  gone(): void {
    this.#reader.gone()
  }

  #next(phase: Phase): RawRecord | null {
    const here = this.#end - this.#start
    if (here < HEADER) return null
    const header = this.#buffer.subarray(this.#start, this.#start + HEADER)
    const [type = 0, major = 0, minor = 0, high = 0, low = 0] = header
    const version = (major << 8) | minor
    const length = (high << 8) | low
    this.#check(phase, type, version, length)
    if (here < HEADER + length) return null
    const body = this.#buffer.subarray(this.#start + HEADER, this.#start + HEADER + length)
    this.#start += HEADER + length
    return { type, header, body }
  }

  #check(phase: Phase, type: number, version: number, length: number): void {
    const { changeCipherSpec, alert, handshake, applicationData } = ContentType
    if (version !== VERSION_12) {
      if (this.#version !== null) throw wrongRecord('has another version')
      if (version >> 8 !== 3 || version > VERSION_12 || type < changeCipherSpec || type > applicationData)
        throw unsuitable(Alert.unexpectedMessage, 'the server does not speak TLS')
      this.#older = true
    }
    if (phase === 'plain') {
      if (type !== changeCipherSpec && type !== alert && type !== handshake) throw wrongRecord('is of a wrong type')
      if (length > MAX_PLAINTEXT) throw tooLong()
      return
    }
    const is13 = this.#version === VERSION_13
    if (is13 && phase === 'handshake' && type === changeCipherSpec && length === 1) return
    if (is13 && type !== applicationData) throw wrongRecord('is not encrypted')
    // In 1.2 the type of an encrypted record is visible.
    if (type !== alert && type !== handshake && type !== applicationData) throw wrongRecord('is of a wrong type')
    if (length > (is13 ? MAX_CIPHERTEXT : MAX_PLAINTEXT + OVERHEAD_12)) throw tooLong()
    if (length < (is13 ? MIN_CIPHERTEXT : OVERHEAD_12)) throw violation(Alert.decodeError, 'a record is too short')
  }

  /** Reads more bytes. Returns false at the end of the transport. */
  async #read(): Promise<boolean> {
    // Moves a partial record to the front, so that the buffer has room for all of it.
    this.#buffer.copyWithin(0, this.#start, this.#end)
    this.#end -= this.#start
    this.#start = 0
    const read = await this.#reader.read(this.#buffer, this.#end)
    if (read === null) return false
    this.#buffer = read.buffer
    this.#end += read.length
    return true
  }
}

const wrongRecord = (what: string) => violation(Alert.unexpectedMessage, `a record ${what}`)
const tooLong = () => violation(Alert.recordOverflow, 'a record is too long')

interface ByteReader {
  /** Fills `buffer` from `at` on and returns it, or a larger one. Returns null at the end. */
  read(buffer: Bytes, at: number): Promise<{ buffer: Bytes; length: number } | null>
  stop(reason: unknown): void
  gone(): void
}

/**
 * Reads into our buffer where the stream supports that. Otherwise workerd's sockets return 4 KB at a time (2026-11-29).
 */
function byteReader(readable: ReadableStream<Uint8Array>): ByteReader {
  const read = fills(readable)
  let fail: ((reason: unknown) => void) | null = null
  let stopped: { reason: unknown } | null = null
  let gone = false
  return {
    read: (buffer, at) =>
      new Promise((resolve, reject) => {
        if (stopped) return reject(stopped.reason)
        fail = reject
        if (gone) wait(reject)
        read(buffer, at).then(
          (found) => {
            fail = null
            resolve(found)
          },
          (error: unknown) => {
            fail = null
            reject(broken(error))
          },
        )
      }),
    stop: (reason) => {
      stopped ??= { reason }
      fail?.(stopped.reason)
    },
    gone: () => {
      gone = true
      if (fail) wait(fail)
    },
  }
}

/** Has no effect on a read that has ended, because its promise is settled. */
const wait = (fail: (reason: unknown) => void) => setTimeout(() => fail(truncated()), GONE_MS)

function fills(readable: ReadableStream<Uint8Array>): ByteReader['read'] {
  let reader: ReadableStreamBYOBReader
  try {
    reader = readable.getReader({ mode: 'byob' })
  } catch {
    const chunks = readable.getReader()
    return async (buffer, at) => {
      const { value } = await chunks.read()
      if (value === undefined) return null
      const fits = value.length <= buffer.length - at
      const into = fits ? buffer : new Uint8Array(at + value.length)
      if (!fits) into.set(buffer.subarray(0, at))
      into.set(value, at)
      return { buffer: into, length: value.length }
    }
  }
  return async (buffer, at) => {
    const { value, done } = await reader.read(buffer.subarray(at))
    // At the end the stream returns an empty view.
    if (done || value === undefined) return null
    return { buffer: new Uint8Array(value.buffer as ArrayBuffer), length: value.byteLength }
  }
}
