/**
 * Compresses one response body. What it returns for each call is a part of its own, which refers to nothing outside of
 * it: so the length of a part depends on nothing but what is in it, and says nothing about rows of others that the body
 * also holds.
 */
export interface Compressor {
  readonly encoding: 'zstd' | 'gzip'
  /** Returns ops of one bucket, compressed. */
  ops(bytes: Uint8Array): Uint8Array
  /** Returns short lines of several kinds as they are, in the form of this encoding. */
  plain(bytes: Uint8Array): Uint8Array
  /** Returns what a body that ends cleanly has at its end. */
  end(): Uint8Array
}

/** Cuts bytes into views of at most `size` bytes. */
export function* chunks(bytes: Uint8Array, size: number): Iterable<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}
