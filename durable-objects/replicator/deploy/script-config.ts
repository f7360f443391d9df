import { hash64 } from '../../../protocol/hash.ts'
import { RockpoolError } from '../../../protocol/errors.ts'
import { planHash } from '../../../sync-config/index.ts'
import type { Plan } from '../../../sync-config/types.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import { refuseWithdrawn } from '../store/configs.ts'
import type { Store } from '../store/store.ts'
import { planOf, refuse, unfollowableOf, type Asked } from './deploy.ts'
import type { Deploys } from './deploys.ts'

export interface ScriptPorts {
  store: Pick<Store, 'state' | 'configs' | 'diagnostics' | 'planStored'>
  deploys: Deploys
}

/**
 * Deploys the script's own sync config. Returns what is wrong with it, or null. It is deployed when its text or the
 * limits of the script are new, unless an operator has deployed the same text before. One that failed is tried again as
 * long as nothing else was deployed. While nothing serves yet, its tables may still be created.
 */
export async function deployBundledConfig(
  { store, deploys }: ScriptPorts,
  settings: ReplicationSettings,
  asked: Asked,
): Promise<RockpoolError | null> {
  const { syncConfig, limits } = settings
  const { state, configs, diagnostics } = store
  const key = hash64(JSON.stringify([syncConfig, limits.disjuncts, limits.streamBuckets]))
  const failed = configs.newest?.state === 'failed' && configs.newest.origin === 'script'
  if (state.get('script') === key && !failed) return null
  try {
    const { plan } = planOf(syncConfig, { limits })
    const hash = planHash(deploys.bind(plan))
    refuseWithdrawn(configs, hash)
    const last = configs.next ?? configs.serving
    if (last?.plan === hash && configs.text(last.number) === syncConfig) {
      state.set('script', key)
      return null
    }
    if (store.planStored !== null) await checkTables(deploys, asked, plan)
    deploys.add(syncConfig, plan, 'script', { also: () => state.set('script', key) })
    return null
  } catch (error) {
    if (
      !(error instanceof RockpoolError) ||
      (error.code !== 'ROCKPOOL_SYNC_CONFIG' && error.code !== 'ROCKPOOL_DEPLOY')
    )
      throw error
    deploys.refuse(syncConfig, 'script', error)
    state.set('script', key)
    diagnostics.add({ code: error.code, reason: error.message })
    return error
  }
}

async function checkTables(deploys: Deploys, asked: Asked, plan: Plan): Promise<void> {
  const { added } = deploys.difference(deploys.bind(plan))
  const names = added.flatMap(({ tables }) => tables)
  if (names.length === 0) return
  const wrong = await unfollowableOf(plan, asked, names)
  refuse(wrong.map(({ name: _name, ...told }) => told))
}
