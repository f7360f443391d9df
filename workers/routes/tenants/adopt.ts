import type { Environment } from '../../../durable-objects/environment.ts'
import { RockpoolError } from '../../../protocol/errors.ts'
import type { Asker } from '../../../protocol/messages/directory.ts'
import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import { askDirectory, previewOf } from '../../../tenants/of-environment.ts'
import { hasScriptTenant, SCRIPT_TENANT } from '../../../tenants/script.ts'
import { OWN_SECRET_NAMES, OWN_SETTINGS, type OwnSetting, type TenantChange } from '../../../tenants/stored/record.ts'
import type { SettingBindings } from '../../../tenants/bindings.ts'
import { changeTenant } from './change.ts'

/**
 * What a script with one tenant has when nothing is said. They are written down, because a stored tenant has other
 * names then.
 */
const SAID: Partial<Record<OwnSetting, string>> = {
  SLOT: OWN_SETTINGS.SLOT.preset,
  OWN_PUBLICATION: OWN_SETTINGS.OWN_PUBLICATION.preset,
}

/**
 * Stores the settings of the script as the tenant `default` and returns its record as JSON. Its objects stay, and the
 * settings of the script count no longer for it. Throws ROCKPOOL_TENANT_CONFLICT when there is nothing to adopt, and
 * when the stored tenant would be another one than the script's.
 */
export async function adopt(env: Environment, asker: Asker): Promise<string> {
  const { adopted } = await askDirectory(env, (directory) => directory.names({ v: MESSAGE_VERSION }))
  if (adopted || !hasScriptTenant(env)) {
    throw new RockpoolError(
      'ROCKPOOL_TENANT_CONFLICT',
      'there is nothing to adopt: the settings of the script are no tenant, or were adopted',
    )
  }
  const change = changeOf(env)
  const differs = previewOf(env, change)
  if (differs.length > 0) {
    const what = differs.join(', ')
    throw new RockpoolError(
      'ROCKPOOL_TENANT_CONFLICT',
      `nothing was stored: the stored tenant would differ from that of the script in ${what}`,
    )
  }
  return changeTenant(env, { name: SCRIPT_TENANT, change, ifMatch: 'absent', reuse: false, ...asker })
}

function changeOf(env: SettingBindings): TenantChange {
  const settings: TenantChange['settings'] = { ...SAID }
  for (const name of Object.keys(OWN_SETTINGS) as OwnSetting[]) {
    const text = textOf(env[name])
    if (text !== null) settings[name] = text
  }
  const secrets: TenantChange['secrets'] = {}
  for (const name of OWN_SECRET_NAMES) {
    const text = textOf(env[name])
    if (text !== null) secrets[name] = text
  }
  return { settings, secrets }
}

/** [vars] of wrangler.toml may hold a number or a table. */
function textOf(value: unknown): string | null {
  if (value === undefined || value === null || value === '') return null
  return typeof value === 'string' ? value : JSON.stringify(value)
}
