import { constants, crc32, deflateRawSync } from 'node:zlib'
import { chunks, type Compressor } from './compressor.ts'

/** RFC 1952: deflate, no name, no time, made on no known system. */
const HEADER = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255)
/** The most bytes that a stored block may have (RFC 1951, 3.2.4). */
const STORED_BYTES = 65_535
/** A last block without content, with fixed codes. */
const LAST_BLOCK = Uint8Array.of(3, 0)

/** `Z_SYNC_FLUSH` ends a segment at a byte, with a block that is not the last one, so the next segment can follow. */
const OPTIONS = { level: 1, finishFlush: constants.Z_SYNC_FLUSH }

/**
 * One member from the first byte to the last: of several, Chromium 156 and Firefox 153 read the first and drop the
 * others without an error (2026-11). `CompressionStream` cannot flush a line, so each segment is deflated by itself.
 */
export class Gzip implements Compressor {
  readonly encoding = 'gzip'
  #crc = 0
  #length = 0
  #begun = false

  ops(bytes: Uint8Array): Uint8Array {
    return this.#part(bytes, [deflateRawSync(bytes, OPTIONS)])
  }

  plain(bytes: Uint8Array): Uint8Array {
    return this.#part(
      bytes,
      [...chunks(bytes, STORED_BYTES)].flatMap((chunk) => [storedHeader(chunk.length), chunk]),
    )
  }

  end(): Uint8Array {
    const trailer = Buffer.alloc(8)
    trailer.writeUInt32LE(this.#crc, 0)
    trailer.writeUInt32LE(this.#length % 2 ** 32, 4)
    return this.#part(new Uint8Array(0), [LAST_BLOCK, trailer])
  }

  #part(raw: Uint8Array, deflated: Uint8Array[]): Uint8Array {
    this.#crc = crc32(raw, this.#crc)
    this.#length += raw.length
    const parts = this.#begun ? deflated : [HEADER, ...deflated]
    this.#begun = true
    return Buffer.concat(parts)
  }
}

/** Returns the header of a stored block, which is not the last one, at the beginning of a byte. */
function storedHeader(length: number): Uint8Array {
  const header = Buffer.alloc(5)
  header.writeUInt16LE(length, 1)
  header.writeUInt16LE(length ^ 0xffff, 3)
  return header
}
