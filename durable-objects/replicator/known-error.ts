import { RockpoolError } from '../../protocol/errors.ts'

/** Returns the error itself when it has a code. Any other becomes ROCKPOOL_INTERNAL. */
export function knownError(error: unknown): RockpoolError {
  if (error instanceof RockpoolError) return error
  return new RockpoolError('ROCKPOOL_INTERNAL', error instanceof Error ? error.message : String(error), {
    cause: error,
  })
}
