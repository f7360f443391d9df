import { isIP } from 'node:net'
import { RockpoolError } from '../../protocol/errors.ts'
import type { TokenIdentity } from '../../tenants/stored/identities.ts'
import type { SettingBindings } from '../../tenants/bindings.ts'
import { tokenSettings, type TokenSettings } from '../../tenants/tokens.ts'
import { accessSettings } from './access.ts'
import type { VerificationKey } from './jwk.ts'
import { authSettings, operatorSettings, type RemoteKeySet } from './settings.ts'

/**
 * Returns by what a tenant accepts tokens, for comparison with other tenants. Throws PSYNC_S2201 and S2203, as
 * `authSettings` does, and S2203 for a key set at an address that a tenant may not name: somebody else than the owner
 * of the deployment may have written it.
 */
export function identitiesOf(settings: TokenSettings): TokenIdentity[] {
  const { keys, remote } = authSettings(settings)
  for (const { url } of remote) refuseAddress(url)
  return [...keys.map(ofKey), ...remote.map(ofKeySet)]
}

/**
 * Throws ROCKPOOL_TENANT_CONFLICT when an operator of the deployment could be taken for a user of the tenant, or the
 * other way: by the same key, or by an audience of both.
 */
export function refuseOperators(identities: readonly TokenIdentity[], deployment: SettingBindings): void {
  const ofKeys = operatorSettings(tokenSettings(deployment))?.keys.map(ofKey) ?? []
  const ofAccess = accessSettings(deployment)?.auth.remote.map(ofKeySet) ?? []
  for (const operator of [...ofKeys, ...ofAccess]) {
    const sameKey = identities.some(({ key }) => key === operator.key)
    const sameAudience = identities.some(({ audiences }) => audiences.some((each) => operator.audiences.includes(each)))
    if (!sameKey && !sameAudience) continue
    const what = sameKey
      ? 'a key of the tenant is one of OPERATOR_KEYS, or those of ACCESS_TEAM'
      : 'an audience of the tenant is one of OPERATOR_AUDIENCE or ACCESS_AUD'
    throw new RockpoolError('ROCKPOOL_TENANT_CONFLICT', what)
  }
}

const ofKey = ({ identity, policy: { audiences, issuers } }: VerificationKey): TokenIdentity => ({
  key: identity,
  audiences,
  issuers,
})
const ofKeySet = ({ url, policy: { audiences, issuers } }: RemoteKeySet): TokenIdentity => ({
  key: url.href,
  audiences,
  issuers,
})

/**
 * Names that resolve to addresses which are not public are refused by the platform, which fetches from the public
 * internet only.
 */
function refuseAddress({ protocol, hostname, port, host }: URL): void {
  const address = hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
  const isLocal = address === 'localhost' || address.endsWith('.localhost') || isIP(address) !== 0
  if (protocol === 'https:' && port === '' && !isLocal) return
  throw new RockpoolError(
    'PSYNC_S2203',
    `the key set at ${host}: it must be https:// on port 443, with a public host name`,
    {
      status: 422,
    },
  )
}
