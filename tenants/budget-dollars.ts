import { readSettings } from '../protocol/settings.ts'
import type { SettingBindings } from './bindings.ts'
import { refuseProblems } from './checked.ts'
import { TENANTS } from './declarations.ts'

/** Returns what the deployment may cost on a day, in US dollars, or null. Throws ROCKPOOL_SETTINGS. */
export function budgetDollars(bindings: SettingBindings): number | null {
  const { values, problems } = readSettings({ BUDGET_DOLLARS_DAY: TENANTS.BUDGET_DOLLARS_DAY }, bindings)
  refuseProblems(problems)
  return values.BUDGET_DOLLARS_DAY ?? null
}
