import { type Element, TAG, expectTag, inside, readBits, readInteger, readOid } from './der.ts'
import { MAX_RSA_BITS, MIN_RSA_BITS } from './limits.ts'
import { refuse } from './refusal.ts'

/** A public key. `problem` says why it is not accepted, or is null. */
export interface Key {
  /** The whole SubjectPublicKeyInfo. */
  der: Uint8Array
  problem: string | null
}

/** A curve. `numberBytes` is the size of each number of a signature. */
export interface Curve {
  name: string
  bytes: number
  numberBytes: number
}

const CURVES: Record<string, Curve> = {
  '1.2.840.10045.3.1.7': { name: 'P-256', bytes: 65, numberBytes: 32 },
  '1.3.132.0.34': { name: 'P-384', bytes: 97, numberBytes: 48 },
  '1.3.132.0.35': { name: 'P-521', bytes: 133, numberBytes: 66 },
}
const RSA = '1.2.840.113549.1.1.1'
const EC = '1.2.840.10045.2.1'
const ED25519 = '1.3.101.112'

/**
 * Reads the kind and the size of a key here, because OpenSSL and BoringSSL accept different keys. Throws only for a
 * form that is not DER.
 */
export function readKey(element: Element): Key {
  const reader = inside(expectTag(element, TAG.sequence))
  const algorithm = reader.enter(TAG.sequence)
  const oid = readOid(algorithm.next(TAG.oid))
  const parameters = algorithm.done ? undefined : algorithm.next()
  algorithm.end()
  const bits = reader.next(TAG.bits)
  reader.end()
  return { der: element.whole, problem: problemOf(oid, parameters, readBits(bits), bits.depth) }
}

/** Returns the curve of a SubjectPublicKeyInfo, or null for a key that is on no accepted curve. */
export function curveOf(element: Element): Curve | null {
  const algorithm = inside(expectTag(element, TAG.sequence)).enter(TAG.sequence)
  if (readOid(algorithm.next(TAG.oid)) !== EC) return null
  return CURVES[readOid(algorithm.next(TAG.oid))] ?? null
}

function problemOf(
  oid: string,
  parameters: Element | undefined,
  bits: { bytes: Uint8Array; unused: number },
  depth: number,
): string | null {
  if (bits.unused !== 0) return 'in a form that is not accepted'
  switch (oid) {
    case RSA:
      return parameters?.tag === TAG.null && parameters.value.length === 0
        ? rsaProblem(bits.bytes, depth)
        : 'in a form that is not accepted'
    case EC: {
      const curve = parameters?.tag === TAG.oid ? CURVES[readOid(parameters)] : undefined
      if (curve === undefined) return 'on a curve that is not accepted'
      return bits.bytes.length === curve.bytes && bits.bytes[0] === 4 ? null : 'in a form that is not accepted'
    }
    case ED25519:
      return parameters === undefined && bits.bytes.length === 32 ? null : 'in a form that is not accepted'
    default:
      return `of a kind that is not accepted (${oid})`
  }
}

function rsaProblem(bytes: Uint8Array, depth: number): string | null {
  const outer = inside({ tag: TAG.bits, value: bytes, whole: bytes, depth })
  const reader = outer.enter(TAG.sequence)
  const modulus = readInteger(reader.next(TAG.integer))
  const exponent = readInteger(reader.next(TAG.integer))
  reader.end()
  outer.end()
  const length = bitLength(modulus)
  if (length < MIN_RSA_BITS) return `of RSA with ${length} bits, and at least ${MIN_RSA_BITS} are needed`
  if (length > MAX_RSA_BITS) return `of RSA with ${length} bits, and at most ${MAX_RSA_BITS} are allowed`
  if (length % 8 !== 0) return `of RSA with ${length} bits, which is not a whole number of bytes`
  // BoringSSL accepts exponents of up to 33 bits, OpenSSL longer ones. An even exponent is never valid.
  const odd = (modulus.at(-1) ?? 0) & (exponent.at(-1) ?? 0) & 1
  return odd === 1 && bitLength(exponent) >= 2 && bitLength(exponent) <= 32
    ? null
    : 'of RSA with an exponent that is not accepted'
}

/** Returns the number of bits of a positive number, or 0 for a negative one. */
function bitLength(bytes: Uint8Array): number {
  if ((bytes[0] ?? 0) >= 0x80) return 0
  const digits = bytes[0] === 0 ? bytes.subarray(1) : bytes
  return digits.length === 0 ? 0 : digits.length * 8 - Math.clz32(digits[0] ?? 0) + 24
}

const pss = (hash: string, salt: string): string =>
  `304106092a864886f70d01010a3034a00f300d060960864801650304020${hash}0500a11c301a06092a864886f70d010108300d060960864801650304020${hash}0500a2030201${salt}`

/**
 * The accepted AlgorithmIdentifiers, whole and in hexadecimal, so that no parameter has to be trusted: SHA-256 or
 * better, and Ed25519, which names no hash.
 */
const SIGNATURES = new Map<string, 'SHA-256' | 'SHA-384' | 'SHA-512' | null>([
  ['300d06092a864886f70d01010b0500', 'SHA-256'], // RSA
  ['300d06092a864886f70d01010c0500', 'SHA-384'],
  ['300d06092a864886f70d01010d0500', 'SHA-512'],
  ['300a06082a8648ce3d040302', 'SHA-256'], // ECDSA
  ['300a06082a8648ce3d040303', 'SHA-384'],
  ['300a06082a8648ce3d040304', 'SHA-512'],
  [pss('1', '20'), 'SHA-256'], // RSA-PSS with one of these hashes for everything, and a salt of its size
  [pss('2', '30'), 'SHA-384'],
  [pss('3', '40'), 'SHA-512'],
  ['300506032b6570', null],
])

const digitsOf = (algorithm: Uint8Array) =>
  Array.from(algorithm.subarray(0, 80), (byte) => byte.toString(16).padStart(2, '0')).join('')

/** Returns the hash that an AlgorithmIdentifier names, or null for one that names none, or is not accepted. */
export const signatureHash = (algorithm: Uint8Array) => SIGNATURES.get(digitsOf(algorithm)) ?? null

/** Throws `signature` unless the AlgorithmIdentifier is accepted. */
export function checkSignatureKind(algorithm: Uint8Array, who: string): void {
  if (SIGNATURES.has(digitsOf(algorithm))) return
  refuse(
    'signature',
    `the signature of ${who} is of a kind that is not accepted: sign it again with SHA-256 or better, by RSA, ECDSA or Ed25519`,
  )
}
