import type { Environment } from '../../durable-objects/environment.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import { directoryOf } from '../../tenants/of-environment.ts'
import { askReplicator } from '../replicator.ts'

/**
 * The cron trigger: a dead man's switch. A replicator re-arms its own alarm, but the platform drops an alarm that failed six times, so
 * every minute each tenant's replicator is asked to make sure that one stands. Throws ROCKPOOL_SETTINGS when settings are missing; one tenant that
 * fails keeps no other from being woken.
 */
export async function scheduled(env: Environment): Promise<void> {
  const directory = directoryOf(env)
  const failures: unknown[] = []
  for await (const name of directory.names()) {
    try {
      // Woken with wrong settings too: it refuses them by name, where `/status` shows it.
      await askReplicator(env, { name }, (replicator) => replicator.wake({ v: MESSAGE_VERSION }))
      void (await directory.find(name)).replication
    } catch (error) {
      failures.push(error)
    }
  }
  if (failures.length > 0) throw failures[0]
}
