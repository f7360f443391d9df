import { readLimits, type Limits } from '../sync-config/limits.ts'
import { UsageError } from './problem.ts'
import type { Settings } from './settings.ts'

/** Returns the limits of the settings. Throws UsageError. */
export function limitsOf(given: Settings): Limits {
  const { limits, problems } = readLimits(given)
  if (problems.length > 0) throw new UsageError(problems.join('; '), { code: 'ROCKPOOL_SETTINGS' })
  return limits
}
