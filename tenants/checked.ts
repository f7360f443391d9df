import { RockpoolError } from '../protocol/errors.ts'

/**
 * Throws ROCKPOOL_SETTINGS, naming each setting that is missing or wrong. A problem holds no value: it may be a secret.
 */
export function refuseProblems(problems: readonly string[]): void {
  if (problems.length > 0)
    throw new RockpoolError('ROCKPOOL_SETTINGS', `settings are missing or wrong: ${problems.join('; ')}`)
}
