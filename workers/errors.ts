import { RockpoolError, type ErrorCode } from '../protocol/errors.ts'

/**
 * What may be told to the outside. A RockpoolError stays what it is, also one that crossed an RPC call and so lost its class. Anything else
 * becomes ROCKPOOL_INTERNAL: its text goes to the log, because it may speak of things that are not the caller's business.
 */
export function publicError(error: unknown): RockpoolError {
  if (error instanceof RockpoolError) return error
  const carried = carriedError(error)
  if (carried) return carried
  console.error('unexpected error', error instanceof Error ? (error.stack ?? error.message) : String(error))
  return new RockpoolError('ROCKPOOL_INTERNAL', 'an unexpected error; the log of the Worker has the details', { cause: error })
}

/** RPC keeps the message and own plain properties of an error, but not its class. */
function carriedError(error: unknown): RockpoolError | null {
  if (!(error instanceof Error) || !('code' in error) || !isErrorCode(error.code)) return null
  const status = 'status' in error && typeof error.status === 'number' ? error.status : undefined
  return new RockpoolError(error.code, error.message.replace(/^RockpoolError: /, ''), {
    cause: error,
    ...(status === undefined ? {} : { status }),
    ...('details' in error ? { details: error.details } : {}),
  })
}

function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && /^(PSYNC_S\d{4}|ROCKPOOL_[A-Z_]+)$/.test(code)
}
