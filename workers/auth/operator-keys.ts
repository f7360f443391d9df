import type { TokenPolicy, VerificationKey } from './jwk.ts'
import { everything, PERMISSIONS_FORM, permissionsOf } from './permissions.ts'
import { staticKey, unusable } from './static-key.ts'

/**
 * Reads the keys of `OPERATOR_KEYS`. One with the member `permissions` permits what is listed there, and one without it
 * everything. Throws PSYNC_S2201.
 */
export function operatorKeys(given: readonly unknown[], policy: TokenPolicy): VerificationKey[] {
  const listed = new Map<string, string>()
  return given.map((each, i) => {
    const place = `OPERATOR_KEYS: keys[${i}]`
    const { kid, permissions }: { kid?: unknown; permissions?: unknown } = Object(each)
    const may = permissions === undefined ? everything : permissionsOf(permissions)
    if (may === null) throw unusable(`${place} "permissions" must be ${PERMISSIONS_FORM}`)
    const name = typeof kid === 'string' && kid !== '' ? kid : `OPERATOR_KEYS[${i}]`
    const key = staticKey(place, each, { ...policy, operator: { key: name, may } })
    // Whoever has the key chooses the `kid` of a token, and with it the permissions.
    const text = JSON.stringify(permissions ?? null)
    if ((listed.get(key.identity) ?? text) !== text)
      throw unusable(`${place} is there twice, with different permissions`)
    listed.set(key.identity, text)
    return key
  })
}
