import { LIMIT_SETTINGS, readLimits, type Limits } from '../sync-config/limits.ts'
import { UsageError } from './problem.ts'

type Variables = Readonly<Record<string, string | undefined>>

/** The limits as environment variables set them. Throws UsageError. */
export function limitsOf(env: Variables): Limits {
  const { limits, problems } = readLimits(env)
  if (problems.length > 0) throw new UsageError(problems.join('; '))
  return limits
}

/** Those that are set, as bindings of the script. */
export const limitBindings = (env: Variables): Record<string, string> =>
  Object.fromEntries(Object.keys(LIMIT_SETTINGS).flatMap((name) => (env[name] ? [[name, env[name]]] : [])))
