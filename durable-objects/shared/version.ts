import { RockpoolError } from '../../protocol/errors.ts'
import { MESSAGE_VERSION, understands, type Versioned } from '../../protocol/versions.ts'

/** Throws ROCKPOOL_MESSAGE_VERSION for a message that this code does not understand. */
export function checkVersion(message: Versioned): void {
  if (understands(message.v)) return
  throw new RockpoolError(
    'ROCKPOOL_MESSAGE_VERSION',
    `message version ${message.v} is not understood; this is version ${MESSAGE_VERSION}`,
  )
}
