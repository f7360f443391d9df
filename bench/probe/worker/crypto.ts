import type { CryptoAnswer } from '../messages.ts'

/** What a Postgres may ask for: 4,096 is its default; 100,000 was the limit of Workers in 2026. */
const ITERATIONS = [4_096, 100_000, 100_001, 600_000]

export async function cryptoAnswer(): Promise<CryptoAnswer> {
  const answer: CryptoAnswer = { x25519: await x25519().catch(String), pbkdf2: [], refusal: null }
  for (const iterations of ITERATIONS) {
    try {
      await pbkdf2(iterations)
      answer.pbkdf2.push(iterations)
    } catch (error) {
      answer.refusal = String(error)
      break
    }
  }
  return answer
}

/** Returns null when both sides come to one secret. */
async function x25519(): Promise<string | null> {
  const pair = async () => (await crypto.subtle.generateKey('X25519', false, ['deriveBits'])) as CryptoKeyPair
  const [ours, theirs] = [await pair(), await pair()]
  const secret = async (own: CryptoKeyPair, other: CryptoKeyPair) => {
    // Passed as a variable, because the types of workerd wrongly call the member $public.
    const exchange = { name: 'X25519', public: other.publicKey }
    return new Uint8Array(await crypto.subtle.deriveBits(exchange, own.privateKey, 256))
  }
  const [one, two] = [await secret(ours, theirs), await secret(theirs, ours)]
  return one.every((byte, i) => byte === two[i]) ? null : 'two sides come to two secrets'
}

async function pbkdf2(iterations: number): Promise<void> {
  const key = await crypto.subtle.importKey('raw', new Uint8Array(16), 'PBKDF2', false, ['deriveBits'])
  await crypto.subtle.deriveBits({ name: 'PBKDF2', hash: 'SHA-256', salt: new Uint8Array(16), iterations }, key, 256)
}

/** Decrypts `n` records of `size` bytes with AES-256-GCM, as TLS of our own does: all that 64 KB hold at once. */
export async function decrypt(n: number, size: number): Promise<void> {
  const key = await crypto.subtle.importKey('raw', new Uint8Array(32), 'AES-GCM', false, ['encrypt', 'decrypt'])
  const how = { name: 'AES-GCM', iv: new Uint8Array(12), additionalData: new Uint8Array(5) }
  const sealed = await crypto.subtle.encrypt(how, key, new Uint8Array(size))
  const together = Math.max(1, Math.floor(65_536 / sealed.byteLength))
  for (let done = 0; done < n; done += together) {
    await Promise.all(
      Array.from({ length: Math.min(together, n - done) }, () => crypto.subtle.decrypt(how, key, sealed)),
    )
  }
}
