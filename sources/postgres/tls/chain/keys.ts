import { type Element, TAG, expectTag, inside, readBits, readInteger, readOid } from './der.ts'
import { MAX_RSA_BITS, MIN_RSA_BITS } from './limits.ts'
import { refuse } from './refusal.ts'

/** `problem` says why a key is not taken. */
export interface Key {
  /** The whole SubjectPublicKeyInfo. */
  der: Uint8Array
  problem: string | null
}

/** `numberBytes`: of each number of a signature. */
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

/** Reads kind and size of a key by ourselves: what OpenSSL and BoringSSL take differs. Throws for a form that is not DER alone. */
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

/** Of a SubjectPublicKeyInfo; null for a key that is on none of those that are taken. */
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
  if (bits.unused !== 0) return 'in a form that is not taken'
  switch (oid) {
    case RSA:
      return parameters?.tag === TAG.null && parameters.value.length === 0 ? rsaProblem(bits.bytes, depth) : 'in a form that is not taken'
    case EC: {
      const curve = parameters?.tag === TAG.oid ? CURVES[readOid(parameters)] : undefined
      if (curve === undefined) return 'on a curve that is not taken'
      return bits.bytes.length === curve.bytes && bits.bytes[0] === 4 ? null : 'in a form that is not taken'
    }
    case ED25519:
      return parameters === undefined && bits.bytes.length === 32 ? null : 'in a form that is not taken'
    default:
      return `of a kind that is not taken (${oid})`
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
  if (length < MIN_RSA_BITS) return `of RSA with ${length} bits, and ${MIN_RSA_BITS} are the least`
  if (length > MAX_RSA_BITS) return `of RSA with ${length} bits, and ${MAX_RSA_BITS} are the most`
  if (length % 8 !== 0) return `of RSA with ${length} bits, which is no number of whole bytes`
  // BoringSSL takes exponents of up to 33 bits, OpenSSL longer ones; a power that is even is no key.
  const odd = (modulus.at(-1) ?? 0) & (exponent.at(-1) ?? 0) & 1
  return odd === 1 && bitLength(exponent) >= 2 && bitLength(exponent) <= 32 ? null : 'of RSA with a power that is not taken'
}

/** Of a positive number; 0 for a negative one. */
function bitLength(bytes: Uint8Array): number {
  if ((bytes[0] ?? 0) >= 0x80) return 0
  const digits = bytes[0] === 0 ? bytes.subarray(1) : bytes
  return digits.length === 0 ? 0 : digits.length * 8 - Math.clz32(digits[0] ?? 0) + 24
}

const pss = (hash: string, salt: string): string =>
  `304106092a864886f70d01010a3034a00f300d060960864801650304020${hash}0500a11c301a06092a864886f70d010108300d060960864801650304020${hash}0500a2030201${salt}`

/** Whole AlgorithmIdentifiers, as hexadecimal digits, so that no parameter is believed: SHA-256 or better, and Ed25519, which names no hash. */
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

const digitsOf = (algorithm: Uint8Array) => Array.from(algorithm.subarray(0, 80), (byte) => byte.toString(16).padStart(2, '0')).join('')

/** The hash of a signature, as an AlgorithmIdentifier names it. Null for one that names none, or is not taken. */
export const signatureHash = (algorithm: Uint8Array) => SIGNATURES.get(digitsOf(algorithm)) ?? null

/** Throws `signature` unless an AlgorithmIdentifier is one of those that are taken. */
export function checkSignatureKind(algorithm: Uint8Array, who: string): void {
  if (SIGNATURES.has(digitsOf(algorithm))) return
  refuse(
    'signature',
    `the signature of ${who} is of a kind that is not taken: sign it again with SHA-256 or better, by RSA, ECDSA or Ed25519`,
  )
}
