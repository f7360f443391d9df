import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { frameEnd } from '../../../test/wire/decoded.ts'
import { CERTAIN_BYTES, FRAME_BYTES, Zstd } from './zstd.ts'

const OPTIONS = { params: { [constants.ZSTD_c_compressionLevel]: 1 } }

const noise = crypto.getRandomValues(new Uint8Array(64 * 1024))
const noisy = (n: number): number => (noise[n % noise.length] ?? 0) ^ (n >> 16)

/** Text like rows, noise, noise as text, and one byte again and again. */
const contents: [string, (n: number) => number][] = [
  ['rows', (n) => 'id":"0123456789abcdef","title":"'.charCodeAt((n + (n >> 9) * 7) % 32)],
  ['noise', noisy],
  [
    'noise as text',
    (n) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'.charCodeAt(noisy(n) % 64),
  ],
  ['zeros', () => 0],
]

test.each(contents)('lines of every size can be compressed when they are %s', (_, byte) => {
  const bytes = Uint8Array.from({ length: 2 * FRAME_BYTES + 1 }, (_value, n) => byte(n))
  for (const size of [
    1,
    1_000,
    CERTAIN_BYTES,
    CERTAIN_BYTES + 1,
    65_536,
    FRAME_BYTES - 1,
    FRAME_BYTES,
    2 * FRAME_BYTES + 1,
  ]) {
    const compressed = new Zstd().ops(bytes.subarray(0, size))
    expect(compressed.length).toBeLessThan(size + 200)
    expect(unframed(compressed)).toBe(size)
  }
})

/** Returns the length of what all frames stand for. */
function unframed(compressed: Uint8Array): number {
  let rest = Buffer.from(compressed)
  let length = 0
  for (let end = frameEnd(rest); end > 0; end = frameEnd(rest)) {
    length += zstdDecompressSync(rest.subarray(0, end)).length
    rest = rest.subarray(end)
  }
  return length
}

// When this fails, the runtime has been mended: see CERTAIN_BYTES.
test('the runtime cannot return more than 40,969 bytes of zstd at once', () => {
  expect(() => zstdCompressSync(noise.subarray(0, 41_000), OPTIONS)).toThrow('Unexpected end of file')
})
