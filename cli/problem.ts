import type { ErrorCode } from '../protocol/errors.ts'

/** An error that the user of the command can correct. It is printed as one line, with exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'

  constructor(message: string, { code, cause }: { code?: ErrorCode; cause?: unknown } = {}) {
    super(code === undefined ? message : `${code}: ${message}`, cause === undefined ? undefined : { cause })
  }
}
