// The parameters of RFC 8446 appendix B that are used here, and those of TLS 1.2 that are as strong (RFC 5289, 8422).
// Nothing weaker is ever offered, so nothing weaker can be chosen. In order of preference.

export const VERSION_12 = 0x0303
export const VERSION_13 = 0x0304

/** Section 5.1: bytes of a record, before encryption and at most after. */
export const MAX_PLAINTEXT = 2 ** 14
export const MAX_CIPHERTEXT = MAX_PLAINTEXT + 256

export const ContentType = { changeCipherSpec: 20, alert: 21, handshake: 22, applicationData: 23 } as const

export const MessageType = {
  /** This one, serverKeyExchange, serverHelloDone and clientKeyExchange belong to 1.2 (RFC 5246 section 7.4). */
  helloRequest: 0,
  clientHello: 1,
  serverHello: 2,
  newSessionTicket: 4,
  encryptedExtensions: 8,
  certificate: 11,
  serverKeyExchange: 12,
  certificateRequest: 13,
  serverHelloDone: 14,
  certificateVerify: 15,
  clientKeyExchange: 16,
  finished: 20,
  keyUpdate: 24,
  /** Never on the wire: it replaces the first ClientHello in the transcript after a retry (4.4.1). */
  messageHash: 254,
} as const

export const Extension = {
  serverName: 0,
  supportedGroups: 10,
  /** RFC 8422 section 5.1.2. */
  pointFormats: 11,
  signatureAlgorithms: 13,
  alpn: 16,
  /** RFC 7627. */
  extendedMasterSecret: 23,
  supportedVersions: 43,
  cookie: 44,
  keyShare: 51,
  /** RFC 5746. */
  renegotiationInfo: 0xff01,
} as const

export interface Suite {
  name: string
  hash: 'SHA-256' | 'SHA-384'
  hashBytes: number
  keyBytes: number
}

export const SUITES: ReadonlyMap<number, Suite> = new Map<number, Suite>([
  [0x1302, { name: 'TLS_AES_256_GCM_SHA384', hash: 'SHA-384', hashBytes: 48, keyBytes: 32 }],
  [0x1301, { name: 'TLS_AES_128_GCM_SHA256', hash: 'SHA-256', hashBytes: 32, keyBytes: 16 }],
])

export interface Suite12 extends Suite {
  /** The kind of the key of the server's certificate (RFC 8422 section 2; Ed25519 counts as ECDSA). */
  signs: 'ECDSA' | 'RSA'
}

/** RFC 5289 section 3.2: the suites of 1.2 with ephemeral key exchange and AES-GCM. */
export const SUITES_12: ReadonlyMap<number, Suite12> = new Map<number, Suite12>([
  [
    0xc02c,
    { name: 'TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384', hash: 'SHA-384', hashBytes: 48, keyBytes: 32, signs: 'ECDSA' },
  ],
  [
    0xc030,
    { name: 'TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384', hash: 'SHA-384', hashBytes: 48, keyBytes: 32, signs: 'RSA' },
  ],
  [
    0xc02b,
    { name: 'TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256', hash: 'SHA-256', hashBytes: 32, keyBytes: 16, signs: 'ECDSA' },
  ],
  [
    0xc02f,
    { name: 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256', hash: 'SHA-256', hashBytes: 32, keyBytes: 16, signs: 'RSA' },
  ],
])

export interface Group {
  name: string
  algorithm: { name: 'X25519' } | { name: 'ECDH'; namedCurve: string }
  shareBytes: number
  secretBits: number
}

export const GROUPS: ReadonlyMap<number, Group> = new Map<number, Group>([
  [0x001d, { name: 'X25519', algorithm: { name: 'X25519' }, shareBytes: 32, secretBits: 256 }],
  [0x0017, { name: 'P-256', algorithm: { name: 'ECDH', namedCurve: 'P-256' }, shareBytes: 65, secretBits: 256 }],
  [0x0018, { name: 'P-384', algorithm: { name: 'ECDH', namedCurve: 'P-384' }, shareBytes: 97, secretBits: 384 }],
])

/**
 * The groups of which the first ClientHello has shares. A server asks for another one with a retry, which costs a round
 * trip.
 */
export const FIRST_GROUPS = [0x001d, 0x0017]

export interface Scheme {
  key: { name: string; namedCurve?: string; hash?: string }
  verify: { name: string; hash?: string; saltLength?: number }
  /** The size in bytes of each of the two numbers of an ECDSA signature. */
  numberBytes?: number
}

const ecdsa = (namedCurve: string, hash: string, numberBytes: number): Scheme => ({
  key: { name: 'ECDSA', namedCurve },
  verify: { name: 'ECDSA', hash },
  numberBytes,
})
const pss = (hash: string, saltLength: number): Scheme => ({
  key: { name: 'RSA-PSS', hash },
  verify: { name: 'RSA-PSS', saltLength },
})

/**
 * The schemes with which a server may sign the handshake (4.4.3). In 1.2 an ECDSA scheme may use any curve (RFC 8422
 * section 5.10).
 */
export const SCHEMES: ReadonlyMap<number, Scheme> = new Map<number, Scheme>([
  [0x0403, ecdsa('P-256', 'SHA-256', 32)],
  [0x0503, ecdsa('P-384', 'SHA-384', 48)],
  [0x0603, ecdsa('P-521', 'SHA-512', 66)],
  [0x0807, { key: { name: 'Ed25519' }, verify: { name: 'Ed25519' } }],
  [0x0804, pss('SHA-256', 32)],
  [0x0805, pss('SHA-384', 48)],
  [0x0806, pss('SHA-512', 64)],
])

const pkcs1 = (hash: string): Scheme => ({
  key: { name: 'RSASSA-PKCS1-v1_5', hash },
  verify: { name: 'RSASSA-PKCS1-v1_5' },
})

/** RSASSA-PKCS1-v1_5 with SHA-2: in certificates, and in the handshake of 1.2 (4.2.3). */
export const PKCS1_SCHEMES: ReadonlyMap<number, Scheme> = new Map<number, Scheme>([
  [0x0401, pkcs1('SHA-256')],
  [0x0501, pkcs1('SHA-384')],
  [0x0601, pkcs1('SHA-512')],
])
