import type { Call, Prepared, SourceConnection } from '../../../sources/source.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import type { CatalogChecks } from './catalog-checks.ts'
import type { HealthWatch } from './health-watch.ts'
import type { SessionState } from './session-state.ts'

type Waiting = Pick<SessionState, 'pause' | 'ending'>

export interface DefinitionWatchPorts {
  settings: Pick<ReplicationSettings, 'catalogWatchSeconds'>
  state: Waiting
  checks: CatalogChecks
  prepared: Pick<Prepared, 'isCurrent'>
  /** For each call of the source. */
  call(): Call
  /** Definitions are unchanged: the stream may continue. */
  unchanged(): void
  /** The next session should begin. */
  restart(): void
}

/**
 * Checks definitions every few seconds, and when the stream requests it: most changes of definitions send nothing
 * through the stream. A difference ends the session; the next one reads the catalog and compares the tables concerned.
 */
export async function watchDefinitions({
  settings,
  state,
  checks,
  prepared,
  call,
  unchanged,
  restart,
}: DefinitionWatchPorts): Promise<void> {
  const ended = state.ending.then(() => true)
  while (!(await Promise.race([state.pause(settings.catalogWatchSeconds * 1_000), checks.requested(), ended]))) {
    const done = checks.begin()
    if (!(await prepared.isCurrent(call()))) return restart()
    done()
    unchanged()
  }
  // The session is ending, and nobody checks any more: a read that waits for the stream would hold it as long as a
  // session may last.
  await checks.requested()
  restart()
}

export interface HealthWatchPorts {
  settings: Pick<ReplicationSettings, 'walCheckSeconds'>
  state: Waiting
  health: HealthWatch
  source: SourceConnection
  /** For each call of the source. */
  call(): Call
  /** Emits a mark, so that the source may free what is before it. */
  heartbeat(): Promise<void>
  /** The next session should begin. */
  restart(): void
}

/**
 * Measures what the source keeps for us, also during a long copy. When that is more than the policy allows, the session
 * ends, and the next one has the source drop it before anything else.
 */
export async function watchHealth({
  settings,
  state,
  health,
  source,
  call,
  heartbeat,
  restart,
}: HealthWatchPorts): Promise<void> {
  const ended = state.ending.then(() => true)
  while (!(await Promise.race([state.pause(settings.walCheckSeconds * 1_000), ended]))) {
    const measured = await health.measure(source, call())
    if (measured?.nudge) await heartbeat()
    if (measured?.drop) restart()
  }
}
