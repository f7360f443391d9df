import { RockpoolError } from '../../protocol/errors.ts'
import { readKey, type TokenPolicy, type VerificationKey } from './jwk.ts'

export const unusable = (message: string) => new RockpoolError('PSYNC_S2201', `key settings are not usable: ${message}`)

/** Reads one key of a setting; `name` is its place there. Throws PSYNC_S2201, without the key. */
export function staticKey(name: string, given: unknown, policy: TokenPolicy): VerificationKey {
  const outcome = readKey(given, policy, { secrets: true })
  if (outcome.kind === 'unusable') throw unusable(`${name} ${outcome.reason}`)
  return outcome.key
}
