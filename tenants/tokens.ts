import type { SettingBindings } from './bindings.ts'
import { TOKENS } from './declarations.ts'

/** The settings that say how tokens are verified, unchecked: `workers/auth/settings.ts` validates them. docs/auth.md describes them. */
export type TokenSettings = Pick<SettingBindings, keyof typeof TOKENS>

export const TOKEN_NAMES = Object.keys(TOKENS) as (keyof TokenSettings)[]

/** Returns only these settings out of all bindings. */
export const tokenSettings = (bindings: SettingBindings): TokenSettings =>
  Object.fromEntries(TOKEN_NAMES.map((name) => [name, bindings[name]]))
