import { createHash } from 'node:crypto'
import { readCertificate } from './certificate.ts'
import { signatureHash } from './keys.ts'

/**
 * Returns what SCRAM binds a login to (`tls-server-end-point`, RFC 5929 section 4): the hash of the server's own
 * certificate. Returns null when the signature names no hash, as that of Ed25519.
 */
export function endPointOf(der: Uint8Array): Uint8Array | null {
  const hash = signatureHash(readCertificate(der, 'the certificate of the server').signature)
  return hash === null ? null : new Uint8Array(createHash(hash.replace('-', '').toLowerCase()).update(der).digest())
}
