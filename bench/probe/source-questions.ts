import { z } from 'zod'
import { ms, type Question } from './asking.ts'
import type { CryptoAnswer } from './messages.ts'
import type { Probe } from './probe.ts'

// Questions about what our own TLS, and connections to Postgres, need from the platform.

const answer: z.ZodType<CryptoAnswer> = z.object({
  x25519: z.string().nullable(),
  pbkdf2: z.array(z.number()),
  refusal: z.string().nullable(),
})

const x25519: Question = {
  name: 'crypto',
  question: 'Does WebCrypto have X25519?',
  async ask(probe) {
    const { x25519: problem } = await probe.get(answer, '/crypto')
    return problem === null ? 'yes' : `no: ${problem}`
  },
}

const pbkdf2: Question = {
  name: 'crypto',
  question: 'How many iterations of PBKDF2 are taken?',
  async ask(probe) {
    const { pbkdf2: taken, refusal } = await probe.get(answer, '/crypto')
    const most = taken.at(-1)?.toLocaleString('en') ?? 'none'
    return refusal === null ? `${most}: there is no limit below that` : `${most}, and no more: ${refusal}`
  },
}

/** The sizes of two TLS records: one with a single row of the stream, and the largest one. */
const RECORD_BYTES = [320, 16_384]

const decrypting: Question = {
  name: 'crypto',
  question: 'How long does it take to decrypt a record of TLS?',
  async ask(probe, { sizes: { records } }) {
    const found: string[] = []
    for (const size of RECORD_BYTES) {
      const network = await timed(probe, 0, size)
      const each = Math.max(0, (await timed(probe, records, size)) - network) / records
      found.push(`${Math.round(each * 10_000) / 10} µs for ${size} bytes`)
    }
    return `${found.join(', ')} (n ${records})`
  },
}

async function timed(probe: Probe, n: number, size: number): Promise<number> {
  const began = performance.now()
  await probe.post('/decrypt', { n, size })
  return performance.now() - began
}

const ipv6: Question = {
  name: 'ipv6',
  question: 'Is a host reached that has an IPv6 address alone?',
  async ask(probe, asking) {
    if (asking.ipv6 === null) return 'not asked: it needs --ipv6'
    const { ms: took, error } = await probe.get(
      z.object({ ms: z.number(), error: z.string().nullable() }),
      '/connect',
      { to: asking.ipv6 },
    )
    return error === null ? `yes, in ${ms(took)}` : `no, after ${ms(took)}: ${error}`
  },
}

export const SOURCE_QUESTIONS: readonly Question[] = [x25519, pbkdf2, decrypting, ipv6]
