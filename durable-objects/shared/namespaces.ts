import { replicatorName } from '../../protocol/names.ts'
import { hasStoredTenants } from '../../tenants/of-environment.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import type { Environment } from '../environment.ts'
import { JURISDICTIONS, knownPlacement, placementOf, type Placement } from './placement.ts'

// Every stub of every object is made here. The first call to an object decides for good where it is created, so a stub
// made anywhere else could create it near whichever caller happened to come first.

/**
 * The error of local workerd (2026-11), which knows no jurisdictions. There, objects are created without one: a single
 * machine is one place.
 */
const LOCAL = 'Jurisdiction restrictions are not implemented in workerd'

/** A tenant, as far as it says which objects are its own. */
export type Placed = Pick<Tenant, 'name' | 'place'>

/** Returns the replicator of a tenant. Throws ROCKPOOL_SETTINGS, as the others do. */
export const replicatorStub = (env: Environment, tenant: Placed) =>
  stubOf(tenant.place, env.REPLICATOR, replicatorName(tenant.name))

/** Returns a bucket by the name of its object: see `bucketObjectName`. */
export const bucketStub = (env: Environment, { place }: Pick<Placed, 'place'>, name: string) =>
  stubOf(place, env.BUCKET, name)

/** Returns a relay by the name of its object: see `relayName`. */
export const relayStub = (env: Environment, { place }: Pick<Placed, 'place'>, name: string) =>
  stubOf(place, env.RELAY, name)

/** Returns the Census of a tenant. */
export const censusStub = (namespace: DurableObjectNamespace, tenant: Placed) =>
  stubOf(tenant.place, namespace, replicatorName(tenant.name))

/**
 * Returns the tenant of an object, for stubs of its other objects. They are in the jurisdiction of the object itself,
 * which its id says (runtime 2026-11), and near it, because an object is created near its first caller: so no object
 * asks the Directory for it. A deployment with one tenant has its settings.
 */
export function placedAt(env: Environment, { id }: Pick<DurableObjectState, 'id'>, name: string): Placed {
  if (!hasStoredTenants(env)) {
    return {
      name,
      get place() {
        return placementOf(env)
      },
    }
  }
  return {
    name,
    place: { location: null, jurisdiction: JURISDICTIONS.find((each) => each === id.jurisdiction) ?? null },
  }
}

/**
 * Returns whether the settings name a replicator other than this one, because JURISDICTION was changed: two replicators
 * must not read one slot. Wrong settings name none, and are refused elsewhere. The place of a stored tenant never
 * changes.
 */
export function isElsewhere(env: Environment, id: DurableObjectId): boolean {
  const place = hasStoredTenants(env) ? null : knownPlacement(env)
  if (place === null || id.name === undefined) return false
  return !namespaceOf(env.REPLICATOR, place).idFromName(id.name).equals(id)
}

/** One value for all requests of an isolate, under which their shared caches are kept. */
export const isolateKey = ({ REPLICATOR }: Environment): object => REPLICATOR

function stubOf<T extends Rpc.DurableObjectBranded | undefined>(
  place: Placement,
  namespace: DurableObjectNamespace<T>,
  name: string,
): DurableObjectStub<T> {
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
