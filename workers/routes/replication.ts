import type { Environment } from '../../durable-objects/environment.ts'
import { isSpendingLimit } from '../../protocol/spending.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import type { TenantDirectory } from '../../tenants/directory.ts'
import { directoryOf, storedTenants } from '../../tenants/of-environment.ts'
import { askReplicator } from '../replicator.ts'

/**
 * Tenants that one minute wakes, and how many of them at a time; more only after a break, see `Directory.overdue`. The
 * others are still overdue a minute later.
 */
const MAX_WOKEN = 1_000
const AT_ONCE = 20
/** A tenant that is overdue for longer than this is logged as an error. */
const ALERT_MS = 120_000

/**
 * The cron trigger: a dead man's switch. A replicator sets its own alarm again, but the platform drops an alarm that
 * failed six times. So every minute it is asked to make sure that one is set: the replicator of a deployment with one
 * tenant always, those of the Directory when nothing was heard of them in time, so that idle tenants cost nothing.
 * Throws ROCKPOOL_SETTINGS when settings are missing. A tenant that fails does not prevent others from being woken.
 */
export async function scheduled(env: Environment): Promise<void> {
  const directory = directoryOf(env)
  const names = await namesToWake(env, directory)
  const failures: unknown[] = []
  // At the spending limit of the account all others would be refused as well.
  for (let i = 0; i < names.length && !failures.some(isSpendingLimit); i += AT_ONCE) {
    const settled = await Promise.allSettled(names.slice(i, i + AT_ONCE).map((name) => woken(env, directory, name)))
    failures.push(...settled.flatMap((each) => (each.status === 'rejected' ? [each.reason as unknown] : [])))
  }
  if (failures.length > 0) throw failures[0]
}

async function namesToWake(env: Environment, directory: TenantDirectory): Promise<string[]> {
  const stored = storedTenants(env)
  if (stored === null) {
    const names: string[] = []
    for await (const name of directory.names()) names.push(name)
    return names
  }
  const overdue = await stored.overdue(MAX_WOKEN)
  for (const { name, due } of overdue) {
    // One that was never heard of is new, or has just changed.
    if (due !== null && due > 0 && Date.now() - due > ALERT_MS)
      console.error(JSON.stringify({ event: 'overdue', tenant: name, since: new Date(due).toISOString() }))
  }
  return overdue.map(({ name }) => name)
}

async function woken(env: Environment, directory: TenantDirectory, name: string): Promise<void> {
  // It is woken even when settings are wrong: it refuses them by name, and `/status` shows that.
  const tenant = await directory.find(name)
  await askReplicator(env, tenant, (replicator) => replicator.wake({ v: MESSAGE_VERSION }))
  void tenant.replication
}
