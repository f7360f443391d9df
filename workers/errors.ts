import { RockpoolError, type ErrorCode } from '../protocol/errors.ts'

/** What they say is about the database: where it is, who uses it, what it answers. */
const OF_DATABASE: ReadonlySet<ErrorCode> = new Set([
  'ROCKPOOL_SOURCE_UNREACHABLE',
  'ROCKPOOL_SOURCE_TLS',
  'ROCKPOOL_SOURCE_SETTINGS',
  'ROCKPOOL_SOURCE_CHANGED',
  'ROCKPOOL_PGOUTPUT',
  'ROCKPOOL_SLOT_TAKEN',
  'ROCKPOOL_WRITE_CHECKPOINT',
])

/** What users are told: as `publicError`, and of the database only that it does not answer. The rest goes to the log. */
export function userError(error: unknown): RockpoolError {
  const known = publicError(error)
  if (!OF_DATABASE.has(known.code)) return known
  console.warn(known.code, known.message)
  return new RockpoolError(known.code, 'the database does not answer', { status: known.status, cause: error })
}

/**
 * What may be told to the outside. A RockpoolError stays what it is, also one that crossed an RPC call and so lost its class. Anything else
 * becomes ROCKPOOL_INTERNAL: its text goes to the log, because it may speak of things that are not the caller's business. What the platform
 * says of an object that is moved, replaced or has too much to do is PSYNC_S2003.
 */
export function publicError(error: unknown): RockpoolError {
  if (error instanceof RockpoolError) return error
  const carried = carriedError(error)
  if (carried) return carried
  if (passes(error)) return new RockpoolError('PSYNC_S2003', 'an object restarts or has too much to do; try again', { cause: error })
  console.error('unexpected error', error instanceof Error ? (error.stack ?? error.message) : String(error))
  return new RockpoolError('ROCKPOOL_INTERNAL', 'an unexpected error; the log of the Worker has the details', { cause: error })
}

/** The platform marks errors of calls to objects. */
function passes(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false
  const marks: { retryable?: unknown; overloaded?: unknown; durableObjectReset?: unknown } = error
  return [marks.retryable, marks.overloaded, marks.durableObjectReset].includes(true)
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
