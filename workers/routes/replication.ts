import type { Environment } from '../../durable-objects/environment.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import { directoryOf } from '../../tenants/of-environment.ts'
import { askReplicator } from '../replicator.ts'

/**
 * The cron trigger: a dead man's switch. A replicator sets its own alarm again, but the platform drops an alarm that failed six times. So
 * every minute each tenant's replicator is asked to make sure that one is set. Throws ROCKPOOL_SETTINGS when settings are missing. A tenant that
 * fails does not prevent others from being woken.
 */
export async function scheduled(env: Environment): Promise<void> {
  const directory = directoryOf(env)
  const failures: unknown[] = []
  for await (const name of directory.names()) {
    try {
      // It is woken even when settings are wrong: it refuses them by name, and `/status` shows that.
      await askReplicator(env, { name }, (replicator) => replicator.wake({ v: MESSAGE_VERSION }))
      void (await directory.find(name)).replication
    } catch (error) {
      failures.push(error)
    }
  }
  if (failures.length > 0) throw failures[0]
}
