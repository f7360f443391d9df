import type { Call, Prepared, SourceConnection } from '../../../sources/source.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import type { HealthWatch } from './health-watch.ts'
import type { Looks } from './looks.ts'

/** The session beside which they run. */
export interface Watched {
  health: HealthWatch
  settings: ReplicationSettings
  source: SourceConnection
  /** For each call of the source. */
  call(): Call
  /** Waits; rejects when the session is over. */
  pause(milliseconds: number): Promise<void>
  /** Resolves when the session is about to end. */
  ending: Promise<void>
  /** The stream speaks of a table otherwise than expected, and waits. */
  looks: Looks
  /** Definitions are as they were: what waited may go on. */
  unchanged(): void
  /** Emits a mark, so that the source may forget what is before it. */
  heartbeat(): Promise<void>
  /** The next session should begin. */
  end(): void
}

/** Most changes of definitions send nothing through the stream. A difference ends the session; the next one reads the catalog and copies the tables concerned. */
export async function watchDefinitions(
  { settings, call, pause, ending, looks, unchanged, end }: Watched,
  prepared: Pick<Prepared, 'isCurrent'>,
): Promise<void> {
  const ended = ending.then(() => true)
  while (!(await Promise.race([pause(settings.catalogWatchSeconds * 1_000), looks.asked(), ended]))) {
    const done = looks.begin()
    if (!(await prepared.isCurrent(call()))) return end()
    done()
    unchanged()
  }
  // The session is ending, and nobody looks any more: a read that waits for the stream would hold it as long as it may last.
  await looks.asked()
  end()
}

/** Beside everything else, also a long copy. More is kept than the policy allows: the next session lets the source forget it before anything else. */
export async function watchHealth({ health, settings, source, call, pause, ending, heartbeat, end }: Watched): Promise<void> {
  const ended = ending.then(() => true)
  while (!(await Promise.race([pause(settings.walCheckSeconds * 1_000), ended]))) {
    const measured = await health.measure(source, call())
    if (measured?.nudge) await heartbeat()
    if (measured?.drop) end()
  }
}
