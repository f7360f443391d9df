import { z } from 'zod'
import { RockpoolError } from '../../protocol/errors.ts'
import { DEFAULT_TENANT } from '../../protocol/names.ts'
import bundledSyncConfig from '../../sync-config.yaml'
import type { Environment } from '../environment.ts'

const identifier = z.string().regex(/^[a-z_][a-z0-9_]{0,62}$/, 'lower-case letters, digits and _ only')

const shape = z.object({
  databaseUrl: z.string().regex(/^postgres(ql)?:\/\//, 'must begin with postgres://'),
  syncConfig: z.string().min(1),
  /** Given: it must exist. Not given: `rockpool` is created and kept equal to the tables of the sync config. */
  publication: identifier.optional(),
  slot: identifier,
  /** How often changes of definitions are looked for while the tenant is live. */
  catalogWatchSeconds: z.coerce.number().min(0.05).max(3_600),
})

export type TenantSettings = z.infer<typeof shape>

/**
 * The settings of a tenant. There is one tenant, `default`, and its settings are the bindings of the script.
 * Throws ROCKPOOL_SETTINGS, naming each binding that is missing or wrong.
 */
export function tenantSettings(env: Environment, tenant: string): TenantSettings {
  if (tenant !== DEFAULT_TENANT) throw new RockpoolError('ROCKPOOL_SETTINGS', `there is no tenant ${JSON.stringify(tenant)}`)
  const given = {
    databaseUrl: env.DATABASE_URL,
    syncConfig: env.SYNC_CONFIG ?? bundledSyncConfig,
    publication: env.PUBLICATION || undefined,
    slot: env.SLOT || 'rockpool',
    catalogWatchSeconds: env.CATALOG_WATCH_SECONDS || 3,
  }
  const parsed = shape.safeParse(given)
  if (parsed.success) return parsed.data
  const bindings: Record<string, string> = {
    databaseUrl: 'DATABASE_URL',
    syncConfig: 'SYNC_CONFIG',
    publication: 'PUBLICATION',
    slot: 'SLOT',
    catalogWatchSeconds: 'CATALOG_WATCH_SECONDS',
  }
  const wrong = parsed.error.issues.map((issue) => `${bindings[String(issue.path[0])] ?? issue.path.join('.')}: ${issue.message}`)
  throw new RockpoolError('ROCKPOOL_SETTINGS', `settings are missing or wrong: ${wrong.join('; ')}`)
}
