import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { hashWords, strongHash } from './strong-hash.ts'

const sha256 = (text: string) => createHash('sha256').update(text).digest()

test('it is the SHA-256 of node:crypto, for texts of every length and script, short and long', () => {
  const letters = ['a', '"', 'é', '€', '語', '😀', '\u0000', '\u007f', '\u0080', '\ud800']
  for (let length = 0; length < 1_100; length++) {
    const plain = 'x'.repeat(length)
    let mixed = ''
    while (mixed.length < length) mixed += letters[(mixed.length * 7 + length) % letters.length] ?? ''
    for (const text of [plain, mixed, `${plain}é`, '語'.repeat(length)]) {
      expect(strongHash(text), JSON.stringify(text)).toBe(sha256(text).toString('base64url').slice(0, 22))
      expect(hashWords(text)).toEqual([0, 4, 8, 12].map((at) => sha256(text).readUInt32BE(at)))
    }
  }
})
