import { RockpoolError } from '../../protocol/errors.ts'

/**
 * The name that an object was asked for by. The runtime knows it also in alarms and after hibernation since 2026-07-02; should it be missing all the
 * same, the object must not go on: it would ask others of a tenant or bucket that does not exist, hear that they are empty, and clients would delete
 * their rows. Whoever calls by name next constructs it anew. Throws ROCKPOOL_INTERNAL.
 */
export function objectName({ id }: Pick<DurableObjectState, 'id'>): string {
  if (id.name !== undefined && id.name !== '') return id.name
  throw new RockpoolError('ROCKPOOL_INTERNAL', 'the runtime did not say the name of this object: it does nothing without one')
}
