import { RockpoolError, type ErrorCode } from '../protocol/errors.ts'
import { isSpendingLimit, spendingError } from '../protocol/spending.ts'

/** Errors whose text is about the database: its address, its users, its answers. */
const OF_DATABASE: ReadonlySet<ErrorCode> = new Set([
  'ROCKPOOL_SOURCE_UNREACHABLE',
  'ROCKPOOL_SOURCE_TLS',
  'ROCKPOOL_SOURCE_SETTINGS',
  'ROCKPOOL_SOURCE_CHANGED',
  'ROCKPOOL_PGOUTPUT',
  'ROCKPOOL_SLOT_TAKEN',
  'ROCKPOOL_WRITE_CHECKPOINT',
])

/**
 * Returns the error for a user: like `publicError`, but errors of the database say only that it does not answer. The
 * text goes to the log.
 */
export function userError(error: unknown): RockpoolError {
  const known = publicError(error)
  // Who has a token of a tenant that is suspended or deleted hears what a stranger does.
  if (known.code === 'ROCKPOOL_TENANT')
    return new RockpoolError('PSYNC_S2002', 'there is nothing at this address', { cause: error })
  if (!OF_DATABASE.has(known.code)) return known
  console.warn(known.code, known.message)
  return new RockpoolError(known.code, 'the database does not answer', { status: known.status, cause: error })
}

/**
 * Returns the error that may leave Rockpool. A RockpoolError stays as it is, even if it lost its class in an RPC call.
 * An error of the platform about an object that is moved, replaced or overloaded becomes PSYNC_S2003. Anything else
 * becomes ROCKPOOL_INTERNAL, and its text goes only to the log, because it may contain what the caller must not see.
 */
export function publicError(error: unknown): RockpoolError {
  if (error instanceof RockpoolError) return error
  const carried = carriedError(error)
  if (carried) return carried
  if (isSpendingLimit(error)) return spendingError(error)
  if (passes(error))
    return new RockpoolError('PSYNC_S2003', 'an object is restarting or overloaded; try again', { cause: error })
  console.error('unexpected error', error instanceof Error ? (error.stack ?? error.message) : String(error))
  return new RockpoolError('ROCKPOOL_INTERNAL', 'an unexpected error; the log of the Worker has the details', {
    cause: error,
  })
}

/** Returns whether the platform has marked an error of a call as temporary. */
function passes(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false
  const marks: { retryable?: unknown; overloaded?: unknown; durableObjectReset?: unknown } = error
  return [marks.retryable, marks.overloaded, marks.durableObjectReset].includes(true)
}

/** Restores an error that came through RPC, which keeps the message and plain own properties but not the class. */
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
