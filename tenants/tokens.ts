import type { SettingBindings } from './bindings.ts'
import { TOKENS } from './declarations.ts'

/** Settings that say how tokens are verified, not checked: `workers/auth/settings.ts` does that. docs/auth.md describes them. */
export type TokenSettings = Pick<SettingBindings, keyof typeof TOKENS>

export const TOKEN_NAMES = Object.keys(TOKENS) as (keyof TokenSettings)[]

/** Returns them alone, of all bindings. */
export const tokenSettings = (bindings: SettingBindings): TokenSettings =>
  Object.fromEntries(TOKEN_NAMES.map((name) => [name, bindings[name]]))
