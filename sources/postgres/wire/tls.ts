import { RockpoolError } from '../../../protocol/errors.ts'
import { shownAddress } from './address.ts'
import type { HostPort, SslMode } from './source-url.ts'
import type { Trust } from './trust.ts'

/** The SSLRequest that comes before everything else: "do you speak TLS?" */
export const SSL_REQUEST = new Uint8Array([0, 0, 0, 8, 4, 210, 22, 47])

/**
 * Reads the one byte of the answer. Returns true when TLS begins now. Throws when TLS is required and not offered:
 * ROCKPOOL_SOURCE_TLS where an authority or the host requires it, else ROCKPOOL_SOURCE_SETTINGS. Unencrypted bytes
 * after the answer are refused, because somebody in between could have put them there.
 */
export function answersTls(answer: Uint8Array, sslmode: SslMode, address: HostPort, trust: Trust): boolean {
  const where = shownAddress(address)
  const first = answer[0]
  if (first === 0x53 && answer.length === 1) return true
  if (first === 0x4e && answer.length === 1) {
    if (trust.by !== 'public') {
      throw new RockpoolError(
        'ROCKPOOL_SOURCE_TLS',
        `${where} offers no TLS, and ${trust.by === 'authorities' && trust.named === null ? 'DATABASE_CA' : 'its host'} requires it: turn ssl on in Postgres. If it is on, somebody in between hides it`,
        { details: { reason: 'plain-text' } },
      )
    }
    if (sslmode === 'prefer') return false
    throw new RockpoolError(
      'ROCKPOOL_SOURCE_SETTINGS',
      `${where} offers no TLS, and the database URL requires it (sslmode=${sslmode}): turn ssl on in Postgres, or set sslmode=disable for a network that you trust`,
    )
  }
  throw new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', `${where} does not speak the protocol of Postgres`)
}
