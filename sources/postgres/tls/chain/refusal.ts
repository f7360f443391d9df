import { RockpoolError } from '../../../../protocol/errors.ts'

/** Why a chain is refused; `details.reason` of the error. A reason never changes its meaning. */
export type Reason =
  | 'unreadable' // no certificate, or one that breaks the rules of DER and X.509
  | 'too-large' // more bytes, certificates or names than are read
  | 'work' // more signatures would have to be checked than are
  | 'authority' // no path leads to an authority of DATABASE_CA
  | 'name' // the certificate is another host's
  | 'expired'
  | 'not-yet-valid'
  | 'key' // too weak, or of a kind that is not taken
  | 'signature' // made with a hash that is too weak, or of a kind that is not taken
  | 'not-an-authority' // signed by what may not sign certificates
  | 'path-length' // more authorities below one than it allows, or than are followed
  | 'usage' // not for servers
  | 'constraints' // a name that an authority above does not allow
  | 'critical' // an extension that has to be followed is not understood
  | 'form' // what the profile of certificates demands is missing or forbidden

/** An error that leaves a connection untried: ROCKPOOL_SOURCE_TLS with `details: {reason}`. */
export function refusal(reason: Reason, message: string): RockpoolError {
  return new RockpoolError('ROCKPOOL_SOURCE_TLS', message, { details: { reason } })
}

export function refuse(reason: Reason, message: string): never {
  throw refusal(reason, message)
}

export function isRefusal(error: unknown, reason?: Reason): error is RockpoolError {
  if (!(error instanceof RockpoolError) || error.code !== 'ROCKPOOL_SOURCE_TLS') return false
  return reason === undefined || (error.details as { reason?: unknown }).reason === reason
}
