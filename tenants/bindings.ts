import type { BindingsOf } from '../protocol/settings.ts'
import type { SETTINGS } from './declarations.ts'

/**
 * Settings and secrets as the script has them, unchecked: strings, or whatever else `[vars]` of wrangler.toml may hold.
 */
export type SettingBindings = BindingsOf<typeof SETTINGS>
