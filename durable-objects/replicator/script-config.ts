import { hash64 } from '../../protocol/hash.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import type { TenantSettings } from '../directory/settings.ts'
import type { Core } from './core.ts'
import { planOf } from './deploy.ts'

/** What is wrong with the script's own sync config, null when nothing is. It is deployed when it, or the limits of the script, are new. */
export function takeScript(core: Core, { syncConfig, limits }: TenantSettings): RockpoolError | null {
  const { state, configs, deploys, diagnostics } = core
  const key = hash64(JSON.stringify([syncConfig, limits.disjuncts, limits.streamBuckets]))
  const isKnown = state.get('script') === key
  // A mistake is told again and again as long as nothing else was deployed.
  if (isKnown && !(configs.newest?.state === 'failed' && configs.newest.origin === 'script')) return null
  try {
    const { plan } = planOf(syncConfig, { limits })
    if (isKnown) return null
    deploys.add(syncConfig, plan, 'script', { also: () => state.set('script', key) })
    return null
  } catch (error) {
    if (!(error instanceof RockpoolError) || error.code !== 'ROCKPOOL_SYNC_CONFIG') throw error
    deploys.refuse(syncConfig, 'script', error)
    state.set('script', key)
    diagnostics.add({ code: error.code, reason: error.message })
    return error
  }
}
