import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { SUITES, type Suite } from './parameters.ts'
import { prf } from './prf.ts'

test.each([...SUITES.values()])(
  'the keys come from the PRF of RFC 5246, as in OpenSSL ($hash)',
  async (suite: Suite) => {
    const [secret, seed] = [new Uint8Array(48).map((_, i) => i * 5), new Uint8Array(64).map((_, i) => i * 3)]
    for (const length of [12, 48, 88, 200]) {
      const kdf = ['kdf', '-keylen', String(length), '-kdfopt', `digest:${suite.hash.replace('-', '')}`]
      const parts = [
        `hexsecret:${Buffer.from(secret).toString('hex')}`,
        `seed:key expansion`,
        `hexseed:${Buffer.from(seed).toString('hex')}`,
      ]
      const printed = execFileSync('openssl', [...kdf, ...parts.flatMap((part) => ['-kdfopt', part]), 'TLS1-PRF'], {
        encoding: 'utf8',
      })
      const ours = await prf(suite, secret, 'key expansion', seed, length)
      expect(Buffer.from(ours).toString('hex')).toBe(printed.replaceAll(/[:\s]/g, '').toLowerCase())
    }
  },
)
