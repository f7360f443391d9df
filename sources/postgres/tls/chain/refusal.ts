import { RockpoolError } from '../../../../protocol/errors.ts'

/** Why a chain is refused; `details.reason` of the error. A reason never changes its meaning. */
export type Reason =
  | 'unreadable' // not a certificate, or one that breaks the rules of DER and X.509
  | 'too-large' // more bytes, certificates or names than are allowed
  | 'work' // more signature checks than are allowed
  | 'authority' // no path leads to an authority of DATABASE_CA
  | 'name' // the certificate is for another host
  | 'expired'
  | 'not-yet-valid'
  | 'key' // too weak, or of a kind that is not accepted
  | 'signature' // made with a weak hash, or of a kind that is not accepted
  | 'not-an-authority' // signed by a certificate that may not sign others
  | 'path-length' // more authorities below one than it allows, or than a path may have
  | 'usage' // not for servers
  | 'constraints' // a name that an authority above does not allow
  | 'critical' // a critical extension is not understood
  | 'form' // something that the profile of certificates demands is missing, or something it forbids is there

/** Returns the error of a refused chain: ROCKPOOL_SOURCE_TLS with `details: {reason}`. */
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
