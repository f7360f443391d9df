import { sourceError } from '../sources/postgres/index.ts'
import { UsageError } from './problem.ts'

/** Returns the error of a command whose database cannot be connected to or asked. */
export const unusable = (error: unknown): UsageError =>
  new UsageError(`the database cannot be used: ${sourceError(error).message}`)
