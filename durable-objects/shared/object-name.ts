import { RockpoolError } from '../../protocol/errors.ts'

/**
 * Returns the name by which an object was called. Since 2026-07-02 the runtime knows it in alarms and after hibernation
 * too. Throws ROCKPOOL_INTERNAL if it is missing anyway: without its name the object would ask the objects of a tenant
 * or bucket that does not exist, hear that they are empty, and clients would delete their rows. The next call by name
 * constructs the object again.
 */
export function objectName({ id }: Pick<DurableObjectState, 'id'>): string {
  if (id.name !== undefined && id.name !== '') return id.name
  throw new RockpoolError(
    'ROCKPOOL_INTERNAL',
    'the runtime did not give this object its name, and it does nothing without one',
  )
}
