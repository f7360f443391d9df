import type { BindingsOf } from '../protocol/settings.ts'
import type { SETTINGS } from './declarations.ts'

/** Settings and secrets as the script has them, not checked: texts, or what else `[vars]` of wrangler.toml holds. */
export type SettingBindings = BindingsOf<typeof SETTINGS>
