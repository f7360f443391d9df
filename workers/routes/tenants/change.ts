import type { Environment } from '../../../durable-objects/environment.ts'
import { placementOf } from '../../../durable-objects/shared/placement.ts'
import { RockpoolError } from '../../../protocol/errors.ts'
import type { Asker } from '../../../protocol/messages/directory.ts'
import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import { askDirectory, storedTenants } from '../../../tenants/of-environment.ts'
import {
  changed,
  newRecord,
  OWN_SECRET_NAMES,
  type TenantChange,
  type TenantRecord,
} from '../../../tenants/stored/record.ts'
import { keyRing, open } from '../../../tenants/stored/seal.ts'
import { tokenSettings } from '../../../tenants/tokens.ts'
import { identitiesOf, refuseOperators } from '../../auth/identities.ts'

interface Asked extends Asker {
  name: string
  change: TenantChange
  ifMatch: number | 'absent'
  reuse: boolean
}

/**
 * Makes or changes a tenant and returns its record as JSON. The rules for its tokens are read here, where tokens are
 * verified; the Directory compares them with those of all others, in the transaction that stores them, and only if
 * nothing has changed since the record was read. Throws what is wrong with the settings, and ROCKPOOL_TENANT_CONFLICT.
 */
export async function changeTenant(
  env: Environment,
  { name, change, ifMatch, reuse, ...asker }: Asked,
): Promise<string> {
  const before =
    ifMatch === 'absent' ? null : await askDirectory(env, (directory) => directory.record({ v: MESSAGE_VERSION, name }))
  if (before !== null && before.kind !== 'record')
    throw new RockpoolError('ROCKPOOL_TENANT', `there is no tenant ${JSON.stringify(name)}`)
  const stored =
    before === null ? newRecord(name, placementOf(env), new Date()) : (JSON.parse(before.record) as TenantRecord)
  const after = changed(stored, change, new Date())
  const ring = keyRing(String(env.TENANT_KEYS ?? ''))
  const secrets = OWN_SECRET_NAMES.filter((field) => after.secrets.includes(field)).map((field) => {
    const kept = before?.sealed[field]
    return [
      field,
      change.secrets[field] ?? (kept === undefined ? undefined : open(ring, { tenant: name, field }, kept)),
    ]
  })
  const settings = tokenSettings({ ...after.settings, ...Object.fromEntries(secrets), JWKS_REJECT_IP_RANGES: 'local' })
  const identities = unprocessable(() => identitiesOf(settings))
  refuseOperators(identities, env)
  const asked = {
    v: MESSAGE_VERSION,
    name,
    change: JSON.stringify(change),
    ifMatch,
    reuse,
    identities: JSON.stringify(identities),
    ...asker,
  }
  const { record } = await askDirectory(env, (directory) => directory.put(asked))
  storedTenants(env)?.changed(name)
  return record
}

/** What is wrong with the keys of a tenant is no matter of the operator's own token, so it is not 401. */
export function unprocessable<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof RockpoolError)) throw error
    throw new RockpoolError(error.code, error.message, { status: 422, cause: error })
  }
}
