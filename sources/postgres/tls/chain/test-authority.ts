import { constants, createHash, generateKeyPairSync, sign, type KeyObject } from 'node:crypto'

// Writes certificates byte by byte, so that every rule can be broken, in Node and in workerd alike.

export const bytes = (...parts: (Uint8Array | number)[]): Uint8Array =>
  Uint8Array.from(parts.flatMap((part) => (typeof part === 'number' ? [part] : [...part])))

/** Tag, length and content. */
export function tlv(tag: number, ...parts: (Uint8Array | number)[]): Uint8Array {
  const content = bytes(...parts)
  const size = content.length
  if (size < 128) return bytes(tag, size, content)
  return size < 256 ? bytes(tag, 0x81, size, content) : bytes(tag, 0x82, size >> 8, size & 0xff, content)
}

export const seq = (...parts: (Uint8Array | number)[]): Uint8Array => tlv(0x30, ...parts)
export const ascii = (text: string): Uint8Array => new TextEncoder().encode(text)

export function oid(text: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number)
  const arcs = [first * 40 + second, ...rest].flatMap((arc) => {
    const digits = [arc & 0x7f]
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) digits.unshift((left & 0x7f) | 0x80)
    return digits
  })
  return tlv(0x06, ...arcs)
}

export interface Extension {
  id: string
  der: Uint8Array
}

const TRUE = bytes(0x01, 0x01, 0xff)
export const extension = (id: string, value: Uint8Array, critical = false): Extension => ({
  id,
  der: seq(oid(id), ...(critical ? [TRUE] : []), tlv(0x04, value)),
})

export const dns = (name: string): Uint8Array => tlv(0x82, ascii(name))
export const ip = (...address: number[]): Uint8Array => tlv(0x87, ...address)
export const nameOf = (...commonNames: string[]): Uint8Array =>
  seq(...commonNames.map((text) => tlv(0x31, seq(oid('2.5.4.3'), tlv(0x0c, ascii(text))))))

export const ID = {
  basic: '2.5.29.19',
  keyUsage: '2.5.29.15',
  usages: '2.5.29.37',
  names: '2.5.29.17',
  constraints: '2.5.29.30',
  subjectKey: '2.5.29.14',
  authorityKey: '2.5.29.35',
}
export const basic = (ca: boolean, pathLength?: number, critical = true): Extension =>
  extension(
    ID.basic,
    seq(...(ca ? [TRUE] : []), ...(pathLength === undefined ? [] : [tlv(0x02, pathLength)])),
    critical,
  )
/** 0x80 digitalSignature, 0x04 keyCertSign. */
export const keyUsage = (bits: number): Extension => {
  let unused = 0
  while (((bits >> unused) & 1) === 0 && unused < 7) unused++
  return extension(ID.keyUsage, tlv(0x03, unused, bits), true)
}
const KP = '1.3.6.1.5.5.7.3'
export const SERVER = `${KP}.1`
export const CLIENT = `${KP}.2`
export const usages = (ids: string[], critical = false): Extension =>
  extension(ID.usages, seq(...ids.map(oid)), critical)
export const alternatives = (names: Uint8Array[], critical = false): Extension =>
  extension(ID.names, seq(...names), critical)
export const constraints = (permitted: Uint8Array[], excluded: Uint8Array[], critical = true): Extension => {
  const list = (tag: number, names: Uint8Array[]) =>
    names.length === 0 ? bytes() : tlv(tag, ...names.map((name) => seq(name)))
  return extension(ID.constraints, seq(list(0xa0, permitted), list(0xa1, excluded)), critical)
}

export interface Keys {
  publicKey: KeyObject
  privateKey: KeyObject
}

export const makeKeys = {
  p256: (): Keys => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  p384: (): Keys => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  p521: (): Keys => generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  ed25519: (): Keys => generateKeyPairSync('ed25519'),
  rsa: (modulusLength = 2048, publicExponent = 0x10001): Keys =>
    generateKeyPairSync('rsa', { modulusLength, publicExponent }),
}

const SIGNATURES: Record<string, Uint8Array> = {
  ed25519: seq(oid('1.3.101.112')),
  'ec-sha1': seq(oid('1.2.840.10045.4.1')),
  'ec-sha256': seq(oid('1.2.840.10045.4.3.2')),
  'ec-sha384': seq(oid('1.2.840.10045.4.3.3')),
  'ec-sha512': seq(oid('1.2.840.10045.4.3.4')),
  'rsa-sha1': seq(oid('1.2.840.113549.1.1.5'), tlv(0x05)),
  'rsa-sha256': seq(oid('1.2.840.113549.1.1.11'), tlv(0x05)),
  'rsa-sha512': seq(oid('1.2.840.113549.1.1.13'), tlv(0x05)),
}

function pssAlgorithm({ hash, null: withNull, salt }: { hash: string; null: boolean; salt: number }): Uint8Array {
  const id =
    {
      sha1: '1.3.14.3.2.26',
      sha256: '2.16.840.1.101.3.4.2.1',
      sha384: '2.16.840.1.101.3.4.2.2',
      sha512: '2.16.840.1.101.3.4.2.3',
    }[hash] ?? ''
  const digest = seq(oid(id), ...(withNull ? [tlv(0x05)] : []))
  const mask = seq(oid('1.2.840.113549.1.1.8'), digest)
  return seq(oid('1.2.840.113549.1.1.10'), seq(tlv(0xa0, digest), tlv(0xa1, mask), tlv(0xa2, tlv(0x02, salt))))
}

export interface Made {
  der: Uint8Array
  keys: Keys
  name: Uint8Array
  keyId: Uint8Array
}

export interface Wanted {
  /** Texts of the CNs; none for an empty name. */
  cn?: string[]
  name?: Uint8Array
  /** Who signs; by itself when there is none. */
  by?: Made
  /** What the certificate says of who signs. */
  issuer?: Uint8Array
  keys?: Keys
  /** Of the key, when it is to be another than that of `keys`. */
  spki?: Uint8Array
  /** By RSA-PSS, with or without NULL as parameters of the hash, and with a salt of this size. */
  pss?: { hash: string; null: boolean; salt: number }
  hash?: 'sha1' | 'sha256' | 'sha384' | 'sha512'
  version?: number
  serial?: number[]
  from?: Uint8Array
  to?: Uint8Array
  /** Those that take the place of the usual ones of their kind, or come behind them. */
  extensions?: Extension[]
  /** Kinds of extensions that are to be missing. */
  without?: string[]
  /** AlgorithmIdentifier outside, when it is to be another one. */
  outside?: Uint8Array
}

export const utc = (text: string): Uint8Array => tlv(0x17, ascii(text))

export function make(wanted: Wanted, defaults: Extension[]): Made {
  const keys = wanted.keys ?? makeKeys.p256()
  const spki = wanted.spki ?? new Uint8Array(keys.publicKey.export({ type: 'spki', format: 'der' }))
  const keyId = new Uint8Array(createHash('sha256').update(spki).digest()).subarray(0, 20)
  const name = wanted.name ?? nameOf(...(wanted.cn ?? ['test']))
  const by = wanted.by ?? { keys, name, keyId }
  const type = by.keys.privateKey.asymmetricKeyType ?? ''
  const hash = type === 'ed25519' ? null : (wanted.hash ?? 'sha256')
  const algorithm = wanted.pss
    ? pssAlgorithm(wanted.pss)
    : (SIGNATURES[hash === null ? type : `${type}-${hash}`] ?? bytes())
  const usual = [
    ...defaults,
    extension(ID.subjectKey, tlv(0x04, keyId)),
    ...(wanted.by ? [extension(ID.authorityKey, seq(tlv(0x80, by.keyId)))] : []),
  ]
  const own = wanted.extensions ?? []
  const replaced = new Set([...own.map(({ id }) => id), ...(wanted.without ?? [])])
  const extensions = [...usual.filter(({ id }) => !replaced.has(id)), ...own].map(({ der }) => der)
  const version = wanted.version ?? 3
  const tbs = seq(
    version === 1 ? bytes() : tlv(0xa0, tlv(0x02, version - 1)),
    tlv(
      0x02,
      ...(wanted.serial ??
        [...crypto.getRandomValues(new Uint8Array(8))].map((each, i) => (i === 0 ? (each & 0x3f) | 1 : each))),
    ),
    algorithm,
    wanted.issuer ?? by.name,
    seq(wanted.from ?? utc('200101000000Z'), wanted.to ?? utc('400101000000Z')),
    name,
    spki,
    version === 1 ? bytes() : tlv(0xa3, seq(...extensions)),
  )
  const signature = new Uint8Array(sign(wanted.pss?.hash ?? hash, tbs, signer(by.keys.privateKey, wanted.pss?.salt)))
  return { der: seq(tbs, wanted.outside ?? algorithm, tlv(0x03, 0, signature)), keys, name, keyId }
}

/** workerd takes options beside the text of a key alone (2026-11). */
const signer = (key: KeyObject, saltLength: number | undefined) =>
  saltLength === undefined
    ? key
    : { key: key.export({ type: 'pkcs8', format: 'pem' }), padding: constants.RSA_PKCS1_PSS_PADDING, saltLength }

/** An authority: a root, or below another one. */
export const authority = (wanted: Wanted): Made => make(wanted, [basic(true), keyUsage(0x04)])

/** A server for `db.example.com`. */
export const server = (wanted: Wanted): Made =>
  make({ cn: ['db.example.com'], ...wanted }, [keyUsage(0x80), usages([SERVER]), alternatives([dns('db.example.com')])])
