import type { DataLine } from '../../../protocol/lines.ts'
import type { LineEncoder } from '../transport.ts'
import type { Compressor } from './compressor.ts'

/**
 * Compresses lines of ops, each by itself, and nothing else: short lines, which are joined, hold ops of several buckets
 * and what concerns the client alone. `encode` tells them apart by what the encoder has returned.
 */
export function compressedLines(
  lines: LineEncoder<Uint8Array>,
  compressor: Compressor,
): { encoder: LineEncoder<Uint8Array>; encode: (bytes: Uint8Array) => Uint8Array } {
  const ops = new WeakSet<Uint8Array>()
  const data = (line: DataLine): Uint8Array => {
    const bytes = lines.data(line)
    ops.add(bytes)
    return bytes
  }
  return {
    encoder: { line: lines.line, data },
    encode: (bytes) => (ops.has(bytes) ? compressor.ops(bytes) : compressor.plain(bytes)),
  }
}
