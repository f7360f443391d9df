import { RockpoolError } from '../../protocol/errors.ts'
import { isSpendingLimit, spendingError } from '../../protocol/spending.ts'

/** Returns the error itself when it has a code. Any other becomes ROCKPOOL_INTERNAL. */
export function knownError(error: unknown): RockpoolError {
  if (error instanceof RockpoolError) return error
  if (isSpendingLimit(error)) return spendingError(error)
  return new RockpoolError('ROCKPOOL_INTERNAL', error instanceof Error ? error.message : String(error), {
    cause: error,
  })
}
