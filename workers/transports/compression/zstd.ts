import { constants, zstdCompressSync } from 'node:zlib'
import { chunks, type Compressor } from './compressor.ts'

/** The most bytes of one frame, which are also the most of one block (RFC 8878, 3.1.1.2.4). */
export const FRAME_BYTES = 128 * 1024

/**
 * Any bytes up to this number can be compressed at once. `zstdCompressSync` of workerd fails with "Unexpected end of
 * file" when it would return more than 40,969 bytes, whatever its `chunkSize` is (workerd 1.20261023.1). Rows have a
 * quarter of their size, so most frames are made at the first attempt.
 */
export const CERTAIN_BYTES = 40_000

/** Higher levels take two to five times as long for a few percent less. */
const OPTIONS = { params: { [constants.ZSTD_c_compressionLevel]: 1 } }

const MAGIC = [0x28, 0xb5, 0x2f, 0xfd]
/** A single segment, whose length is a field of four bytes: no window, no dictionary, no checksum. */
const DESCRIPTOR = 0b1010_0000
const HEADER_BYTES = 12

/**
 * Frames that follow each other (RFC 8878, 3: a decoder takes them as one). A frame carries its length, so nothing is
 * needed at the end.
 */
export class Zstd implements Compressor {
  readonly encoding = 'zstd'

  ops(bytes: Uint8Array): Uint8Array {
    return Buffer.concat([...chunks(bytes, FRAME_BYTES)].flatMap((chunk) => [...frames(chunk)]))
  }

  plain(bytes: Uint8Array): Uint8Array {
    return Buffer.concat([...chunks(bytes, FRAME_BYTES)].flatMap((chunk) => [header(chunk.length), chunk]))
  }

  end(): Uint8Array {
    return new Uint8Array(0)
  }
}

function* frames(bytes: Uint8Array): Iterable<Uint8Array> {
  try {
    yield zstdCompressSync(bytes, OPTIONS)
  } catch (error) {
    if (bytes.length <= CERTAIN_BYTES) throw error
    yield* frames(bytes.subarray(0, bytes.length >> 1))
    yield* frames(bytes.subarray(bytes.length >> 1))
  }
}

/** Returns the header of a frame with one raw block, which is its last one. */
function header(length: number): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES)
  bytes.set([...MAGIC, DESCRIPTOR])
  bytes.writeUInt32LE(length, 5)
  bytes.writeUIntLE((length << 3) | 1, 9, 3)
  return bytes
}
