import type { Random } from '../../../../test/support/random.ts'

/** One to three places changed, as if by chance or by somebody who knows where lengths and tags are. */
export function mutated(der: Uint8Array, random: Random): Uint8Array {
  let bytes = [...der]
  for (let left = 1 + random.int(3); left > 0; left--) {
    const at = random.int(bytes.length)
    const length = 1 + random.int(40)
    const change = random.int(7)
    if (change === 0) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.int(8))
    else if (change === 1) bytes[at] = random.pick([0, 1, 0x7f, 0x80, 0x81, 0x84, 0xff, 0x30, 0x06, 0x1f])
    else if (change === 2) bytes.splice(at, length)
    else if (change === 3) bytes.splice(at, 0, ...bytes.slice(at, at + length))
    else if (change === 4) bytes = bytes.slice(0, at + 1)
    else if (change === 5) bytes.splice(at, 0, ...Array.from({ length }, () => random.int(256)))
    else bytes[at] = (bytes[at] ?? 0) + random.pick([-1, 1])
  }
  return Uint8Array.from(bytes)
}
