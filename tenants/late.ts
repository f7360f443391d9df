import { readSettings } from '../protocol/settings.ts'
import type { SettingBindings } from './bindings.ts'
import { refuseProblems } from './checked.ts'
import { TENANTS } from './declarations.ts'

/**
 * Returns for how long calls of a tenant that is being deleted may still be under way, in ms. Throws ROCKPOOL_SETTINGS.
 */
export function lateMs(bindings: SettingBindings): number {
  const { values, problems } = readSettings({ DELETION_LATE_SECONDS: TENANTS.DELETION_LATE_SECONDS }, bindings)
  refuseProblems(problems)
  return values.DELETION_LATE_SECONDS * 1_000
}
