import type { Sql } from 'postgres'
import type { TableName } from '../../../protocol/tables.ts'
import { catalogVersion, type PreparedSource } from '../../../sources/postgres/index.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import type { Looks } from './looks.ts'
import type { SlotWatch } from './slot-watch.ts'

/** The session beside which they run. */
export interface Watched {
  /** What the sync config reads. */
  names: readonly TableName[]
  slot: SlotWatch
  settings: ReplicationSettings
  sql: Sql
  /** Waits; rejects when the session is over. */
  pause(milliseconds: number): Promise<void>
  /** Resolves when the session is about to end. */
  ending: Promise<void>
  /** The stream speaks of a table otherwise than expected, and waits. */
  looks: Looks
  /** The catalog is as it was: what waited may go on. */
  unchanged(): void
  /** Emits a marker, so that the slot moves on. */
  heartbeat(): Promise<void>
  /** The next session should begin. */
  end(): void
}

/** Most changes of definitions send nothing through the stream. A difference ends the session; the next one reads the catalog and copies the tables concerned. */
export async function watchCatalog(
  { names, settings, sql, pause, ending, looks, unchanged, end }: Watched,
  source: PreparedSource,
): Promise<void> {
  const ended = ending.then(() => true)
  while (!(await Promise.race([pause(settings.catalogWatchSeconds * 1_000), looks.asked(), ended]))) {
    const done = looks.begin()
    if ((await catalogVersion(sql, source.publication, names)) !== source.catalogVersion) return end()
    done()
    unchanged()
  }
}

/** Beside everything else, also a long copy. More is kept than the policy allows: the next session drops the slot before anything else. */
export async function watchSlot({ slot, settings, sql, pause, ending, heartbeat, end }: Watched): Promise<void> {
  const ended = ending.then(() => true)
  while (!(await Promise.race([pause(settings.walCheckSeconds * 1_000), ended]))) {
    const { drop, marker } = await slot.measure(settings, sql)
    if (marker) await heartbeat()
    if (drop) end()
  }
}
