import type { SettingBindings } from './bindings.ts'
import { TOKENS } from './declarations.ts'

/**
 * The settings that say how tokens are verified, unchecked: `workers/auth/settings.ts` validates them. docs/auth.md
 * describes them.
 */
export type TokenSettings = Pick<SettingBindings, keyof typeof TOKENS> & {
  /**
   * A claim that every token of a user must have with this value: it says which of several tenants that share keys the
   * token is for.
   */
  mustSay?: RequiredClaim
}

export interface RequiredClaim {
  claim: string
  value: string
}

export const TOKEN_NAMES = Object.keys(TOKENS) as (keyof typeof TOKENS)[]

/** Returns only these settings out of all bindings. */
export const tokenSettings = (bindings: SettingBindings): TokenSettings =>
  Object.fromEntries(TOKEN_NAMES.map((name) => [name, bindings[name]]))
