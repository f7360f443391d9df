import type { Environment } from '../../durable-objects/environment.ts'
import { tenantSettings } from '../../durable-objects/directory/settings.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import { DEFAULT_TENANT } from '../../protocol/names.ts'
import { askReplicator } from '../replicator.ts'

/**
 * The cron trigger: a dead man's switch. A replicator re-arms its own alarm, but the platform drops an alarm that failed six times, so
 * every minute each tenant's replicator is asked to make sure that one stands. Throws ROCKPOOL_SETTINGS when settings are missing.
 */
export async function scheduled(env: Environment): Promise<void> {
  // Woken with wrong settings too: it refuses them by name, where `/status` shows it.
  await askReplicator(env, (replicator) => replicator.wake({ v: MESSAGE_VERSION }))
  tenantSettings(env, DEFAULT_TENANT)
}
