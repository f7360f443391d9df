import type { ErrorCode } from '../protocol/errors.ts'

/** Something that whoever typed the command can set right: one line, exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'

  constructor(message: string, { code, cause }: { code?: ErrorCode; cause?: unknown } = {}) {
    super(code === undefined ? message : `${code}: ${message}`, cause === undefined ? undefined : { cause })
  }
}
