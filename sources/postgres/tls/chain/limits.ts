// Limits for what a server, or the author of DATABASE_CA, decides. All of them are in docs/limits.md.

/** Bytes of all certificates that a server sends. Chains of hosts have 2 to 6 KB. */
export const MAX_CHAIN_BYTES = 64 * 1024
/** Certificates that a server sends, including the leaf. */
export const MAX_CHAIN_CERTIFICATES = 16
/** Bytes of one certificate, also of an authority. */
export const MAX_CERTIFICATE_BYTES = 16 * 1024
/** Certificates from the leaf to the authority, both included. */
export const MAX_PATH = 8
/** Signatures that are checked for one chain, valid or not. 100 of P-521 or RSA 8,192 take 160 ms (Node, 2026-11). */
export const MAX_SIGNATURE_CHECKS = 100
/** Alternative names of a certificate; names that an authority permits or excludes; parts of a subject or an issuer. */
export const MAX_NAMES = 256
/** Extensions of a certificate; usages, and access locations, in one of them. */
export const MAX_EXTENSIONS = 50
/** Nested levels of DER. Name constraints, the deepest that are read, have 13. */
export const MAX_DER_DEPTH = 16
/** Bytes of an object identifier. */
export const MAX_OID_BYTES = 40
/** Characters of DATABASE_CA: the certificates that may be in it, of 2 KB each, and comments. */
export const MAX_PEM_LENGTH = 512 * 1024
/** Certificates in DATABASE_CA. The list of all regions of RDS has about 100. */
export const MAX_ANCHORS = 200
/** BoringSSL refuses larger keys, OpenSSL accepts up to 16,384. Both runtimes must accept the same. */
export const MAX_RSA_BITS = 8192
export const MIN_RSA_BITS = 2048
