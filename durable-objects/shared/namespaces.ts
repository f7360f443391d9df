import { replicatorName } from '../../protocol/names.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import type { Environment } from '../environment.ts'
import { knownPlacement, placementOf, type Placement } from './placement.ts'

// Every stub of every object is made here. The first call to an object decides for good where it is created, so a stub made anywhere else could
// create it near whichever caller happened to come first.

/** The error of local workerd (2026-11), which knows no jurisdictions. There, objects are created without one: a single machine is one place. */
const LOCAL = 'Jurisdiction restrictions are not implemented in workerd'

/** Returns the replicator of a tenant. Throws ROCKPOOL_SETTINGS, as the others do. */
export const replicatorStub = (env: Environment, tenant: Pick<Tenant, 'name'>) => stubOf(env, env.REPLICATOR, replicatorName(tenant.name))

/** Returns a bucket by the name of its object: see `bucketObjectName`. */
export const bucketStub = (env: Environment, name: string) => stubOf(env, env.BUCKET, name)

/** Returns a relay by the name of its object: see `relayName`. */
export const relayStub = (env: Environment, name: string) => stubOf(env, env.RELAY, name)

/**
 * Returns whether the settings name a replicator other than this one, because JURISDICTION was changed: two replicators must not read one slot.
 * Wrong settings name none, and are refused elsewhere.
 */
export function isElsewhere(env: Environment, id: DurableObjectId): boolean {
  const place = knownPlacement(env)
  if (place === null || id.name === undefined) return false
  return !namespaceOf(env.REPLICATOR, place).idFromName(id.name).equals(id)
}

/** One value for all requests of an isolate, under which their shared caches are kept. */
export const isolateKey = ({ REPLICATOR }: Environment): object => REPLICATOR

function stubOf<T extends Rpc.DurableObjectBranded | undefined>(
  env: Environment,
  namespace: DurableObjectNamespace<T>,
  name: string,
): DurableObjectStub<T> {
  const place = placementOf(env)
  const within = namespaceOf(namespace, place)
  return place.location === null ? within.getByName(name) : within.getByName(name, { locationHint: place.location })
}

function namespaceOf<T extends Rpc.DurableObjectBranded | undefined>(
  namespace: DurableObjectNamespace<T>,
  { jurisdiction }: Placement,
): DurableObjectNamespace<T> {
  if (jurisdiction === null) return namespace
  try {
    return namespace.jurisdiction(jurisdiction)
  } catch (error) {
    if (error instanceof Error && error.message.includes(LOCAL)) return namespace
    throw error
  }
}
