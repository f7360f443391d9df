import type { Sql } from 'postgres'
import { waitsForStandby } from '../catalog/standbys.ts'

/** Standbys keep copies of slots from Postgres 17 on, of those that are marked for it. */
export const FAILOVER_FROM = 170_000

/**
 * Marks a slot that nobody holds. `walsender` is a connection with `replication`: there is no SQL function for it
 * (2026-11, up to 18). It waits for nothing. Throws what Postgres answers: 55006 while somebody holds the slot.
 */
export async function markForFailover(walsender: Sql, slot: string): Promise<void> {
  await walsender.unsafe(`ALTER_REPLICATION_SLOT "${slot.replaceAll('"', '""')}" (FAILOVER true)`)
}

export interface StandbyFacts {
  serverVersion: number
  /**
   * Physical slots, by which standbys are known; `feedback`: its `hot_standby_feedback` is on, as far as its xmin
   * tells.
   */
  physical: readonly { name: string; active: boolean; feedback: boolean }[]
  /** Somebody streams physical WAL, with a slot or without. Roles without `pg_monitor` cannot see it. */
  streams: boolean
  synchronized: string
}

export async function standbyFacts(sql: Sql): Promise<StandbyFacts> {
  const [row] = await sql<
    { version: number; physical: StandbyFacts['physical'] | null; streams: boolean; synchronized: string | null }[]
  >`
    SELECT current_setting('server_version_num')::int AS version,
      (SELECT json_agg(json_build_object('name', slot_name, 'active', active, 'feedback', xmin IS NOT NULL) ORDER BY slot_name)
        FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary) AS physical,
      EXISTS (SELECT FROM pg_stat_replication r WHERE state = 'streaming'
        AND NOT EXISTS (SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')) AS streams,
      current_setting('synchronized_standby_slots', true) AS synchronized`
  return {
    serverVersion: row?.version ?? 0,
    physical: row?.physical ?? [],
    streams: row?.streams ?? false,
    synchronized: row?.synchronized ?? '',
  }
}

/**
 * What a failover to a standby would need so that the stream goes on behind it, and what is not so; empty for a
 * database without one. What only the standby knows is named as such.
 */
export function failoverAdvice({ serverVersion, physical, streams, synchronized }: StandbyFacts): string[] {
  if (physical.length === 0 && !streams) return []
  if (serverVersion < FAILOVER_FROM) {
    return [
      `there is a standby, and Postgres ${Math.floor(serverVersion / 10_000)} keeps no logical slot through a failover: everything is compared again after one. Postgres 17 and newer can keep it`,
    ]
  }
  const advice: string[] = []
  if (physical.length === 0) {
    advice.push('the standby uses no physical slot: without one (primary_slot_name) it cannot keep a copy of our slot')
  }
  for (const { name, feedback } of physical) {
    if (!feedback)
      advice.push(
        `the standby of the slot ${name} sends no feedback: set hot_standby_feedback = on there, or it keeps no copy of our slot`,
      )
  }
  const unnamed = physical.filter(({ name }) => waitsForStandby(synchronized, name) === null)
  if (physical.length > 0 && unnamed.length === physical.length) {
    advice.push(
      `synchronized_standby_slots names no standby: after a failover we may have transactions that the new primary has not, which is noticed, and then everything is compared. Set it to ${unnamed.map(({ name }) => name).join(' or ')}`,
    )
  }
  return [
    ...advice,
    'what cannot be seen from the primary: the standby needs sync_replication_slots = on, and a dbname in its primary_conninfo',
  ]
}
