/** Something that whoever typed the command can set right: one line, exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}
