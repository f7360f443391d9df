import type { SettingName } from './setting-declarations.ts'

/** Settings and secrets as the script has them, not checked: texts, or what else `[vars]` of wrangler.toml holds. */
export type SettingBindings = { [Name in SettingName]?: string | number | object }
