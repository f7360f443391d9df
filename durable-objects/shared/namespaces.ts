import { replicatorName } from '../../protocol/names.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import type { Environment } from '../environment.ts'
import { knownPlacement, placementOf, type Placement } from './placement.ts'

// Every stub of every object is made here. Whoever names an object first decides for good where it is, so a stub that is made anywhere else could
// place it beside whoever happened to ask.

/** What workerd says on one's own machine (2026-11), which is one place: there objects are made without the jurisdiction. */
const LOCAL = 'Jurisdiction restrictions are not implemented in workerd'

/** Of a tenant. Throws ROCKPOOL_SETTINGS, as the others do. */
export const replicatorStub = (env: Environment, tenant: Pick<Tenant, 'name'>) => stubOf(env, env.REPLICATOR, replicatorName(tenant.name))

/** By the name of the object: see `bucketObjectName`. */
export const bucketStub = (env: Environment, name: string) => stubOf(env, env.BUCKET, name)

/** By the name of the object: see `relayName`. */
export const relayStub = (env: Environment, name: string) => stubOf(env, env.RELAY, name)

/**
 * Whether the settings name another replicator than this one, because JURISDICTION was changed. Two must not read one slot. Settings that are wrong
 * name none, and are refused elsewhere.
 */
export function isElsewhere(env: Environment, id: DurableObjectId): boolean {
  const place = knownPlacement(env)
  if (place === null || id.name === undefined) return false
  return !namespaceOf(env.REPLICATOR, place).idFromName(id.name).equals(id)
}

/** The same for all requests of an isolate: what they remember together is kept by it. */
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
