/** Sums of op checksums. A bucket's checksum is the sum of the checksums of its stored ops, modulo 2^32. */

/** `a + b` modulo 2^32, unsigned. Either side may be signed or unsigned. */
export function addChecksums(a: number, b: number): number {
  return ((a | 0) + (b | 0)) >>> 0
}

/** `a - b` modulo 2^32, unsigned. */
export function subtractChecksums(a: number, b: number): number {
  return ((a | 0) - (b | 0)) >>> 0
}

/** Returns the signed form that bucket checksums have on the wire. */
export function signedChecksum(sum: number): number {
  return sum | 0
}
