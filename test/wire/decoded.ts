import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { constants, createGunzip, zstdDecompressSync } from 'node:zlib'

/**
 * Returns what a response says, as a client reads it that hands on what it has at once. Of zstd only whole frames are
 * handed on. `received` is called with the length of each chunk, as it was sent.
 */
export function decoded(response: IncomingMessage, received: (bytes: number) => void): Readable {
  const encoding = response.headers['content-encoding']
  // A listener would let the body flow before the frames are read.
  if (encoding === 'zstd') return Readable.from(unzstd(response, received), { objectMode: false })
  response.on('data', (chunk: Buffer) => received(chunk.length))
  if (encoding === 'gzip') {
    const gunzip = createGunzip({ flush: constants.Z_SYNC_FLUSH })
    response.on('error', (error) => gunzip.destroy(error))
    return response.pipe(gunzip)
  }
  return response
}

/** Node's own stream reads the first of the frames that come together, and drops the others (Node 24.21). */
async function* unzstd(chunks: AsyncIterable<Buffer>, received: (bytes: number) => void): AsyncIterable<Buffer> {
  let rest = Buffer.alloc(0)
  for await (const chunk of chunks) {
    received(chunk.length)
    rest = Buffer.concat([rest, chunk])
    for (let end = frameEnd(rest); end > 0; end = frameEnd(rest)) {
      yield zstdDecompressSync(rest.subarray(0, end))
      rest = rest.subarray(end)
    }
  }
  if (rest.length > 0) throw new Error(`the body ended with ${rest.length} bytes of a frame`)
}

/**
 * Returns where the first frame ends, by the headers of its blocks (RFC 8878, 3.1.1), or 0 when it is not whole. Throws
 * for frames that are not of one segment.
 */
export function frameEnd(bytes: Buffer): number {
  if (bytes.length < 5) return 0
  const descriptor = bytes.readUInt8(4)
  if (bytes.readUInt32LE(0) !== 0xfd2fb528 || (descriptor & 0b0011_1111) !== 0b0010_0000)
    throw new Error('this is no frame of one segment')
  let at = 5 + ([1, 2, 4, 8][descriptor >> 6] ?? 0)
  for (let last = false; !last;) {
    if (bytes.length < at + 3) return 0
    const block = bytes.readUIntLE(at, 3)
    last = (block & 1) === 1
    // A block of one repeated byte has that byte alone.
    at += 3 + (((block >> 1) & 3) === 1 ? 1 : block >> 3)
  }
  return bytes.length < at ? 0 : at
}
