import type { Sql } from 'postgres'
import { RockpoolError } from '../../../protocol/errors.ts'
import { sourceError } from '../wire/connection.ts'
import { parseLsn } from './lsn.ts'
import { FAILOVER_FROM } from './failover.ts'
import type { Lsn } from '../types.ts'

export interface FoundSlot {
  created: boolean
  /** Why it delivers nothing any more, or null when all is well. */
  lost: string | null
  confirmedFlush: Lsn
  /**
   * Whether standbys keep a copy of it, so that it outlives a failover; null where Postgres has no such thing (before
   * 17).
   */
  failover: boolean | null
}

/** The WAL that a slot keeps, in bytes. Numbers are exact, because WAL is far smaller than 2^53 bytes. */
export interface SlotMeasure {
  /** `reserved`, `extended`, `unreserved` (about to go) or `lost`. */
  walStatus: string | null
  /** The WAL that the server keeps for it. */
  retainedBytes: number
  /** The WAL after the acknowledged position. */
  lagBytes: number
  /** The WAL that may still be written before the slot is in danger, or null when there is no limit. */
  safeWalBytes: number | null
  /** `max_slot_wal_keep_size`, or null when it is not set. */
  maxKeepBytes: number | null
  /**
   * `synchronized_standby_slots` while Postgres sends nothing, because one of these standbys has not confirmed it yet;
   * else null.
   */
  awaitedStandbys: string | null
}

export interface SlotHolder {
  pid: number
  role: string
  application: string
  /** True when role and application name are those of this connection. */
  ours: boolean
}

/** The number of attempts to free a slot. A terminated backend ends within milliseconds, unless its socket is full. */
const FREE_TRIES = 40
const FREE_WAIT_MS = 50

/**
 * The slot, made when there is none. Making it waits for all transactions that are open: `waits` is called before and
 * after.
 */
export async function keepSlot(
  sql: Sql,
  slot: string,
  waits: (waiting: boolean) => void = () => {},
): Promise<FoundSlot> {
  const found = await foundSlot(sql, slot)
  if (found) return found
  waits(true)
  const created = await createSlot(sql, slot).finally(() => waits(false))
  return { created: true, lost: null, ...created }
}

/** The slot; null when there is none. Throws ROCKPOOL_SOURCE_SETTINGS for one that is not ours to use. */
export async function foundSlot(sql: Sql, slot: string): Promise<FoundSlot | null> {
  const row = await readSlot(sql, slot)
  if (!row) return null
  const foreign = foreignSlot(row, slot)
  if (foreign !== null) throw settings(foreign)
  const lost =
    row.wal_status === 'lost' || row.reason !== null
      ? invalidated(row.reason)
      : row.flush === null
        ? 'the slot was never complete'
        : null
  return { created: false, lost, confirmedFlush: parseLsn(row.flush ?? '0/0'), failover: row.failover }
}

/** The values of `invalidation_reason` (Postgres 17+) with their meaning. */
const INVALIDATIONS: Record<string, string> = {
  wal_removed: 'it kept more WAL than max_slot_wal_keep_size allows',
  rows_removed: 'rows of the catalog that it needs were removed',
  wal_level_insufficient: 'wal_level was lowered below logical',
  idle_timeout: 'nobody read it for longer than idle_replication_slot_timeout',
}

function invalidated(reason: string | null): string {
  const why =
    reason === null ? '' : ` (${reason}${INVALIDATIONS[reason] === undefined ? '' : `: ${INVALIDATIONS[reason]}`})`
  return `Postgres invalidated the slot${why}`
}

interface SlotRow {
  plugin: string | null
  database: string | null
  mine: boolean
  flush: string | null
  wal_status: string | null
  reason: string | null
  failover: boolean | null
}

async function readSlot(sql: Sql, slot: string): Promise<SlotRow | undefined> {
  const [row] = await sql<SlotRow[]>`
    SELECT plugin, database, database = current_database() AS mine, confirmed_flush_lsn::text AS flush, wal_status,
      to_jsonb(s) ->> 'invalidation_reason' AS reason, (to_jsonb(s) ->> 'failover')::boolean AS failover
    FROM pg_replication_slots s WHERE slot_name = ${slot}`
  return row
}

/** Returns why the slot is not ours, or null when we may have created it. */
function foreignSlot({ plugin, mine, database }: SlotRow, slot: string): string | null {
  if (plugin !== 'pgoutput') return `the replication slot ${slot} is not one of pgoutput: set SLOT to another name`
  return mine
    ? null
    : `the replication slot ${slot} belongs to the database ${database ?? '?'}: set SLOT to another name`
}

/** Returns why this slot cannot be used or created, or null. */
export async function slotProblem(sql: Sql, slot: string): Promise<string | null> {
  const row = await readSlot(sql, slot)
  if (row) return foreignSlot(row, slot)
  const [used] = await sql<{ full: boolean }[]>`
    SELECT count(*) >= current_setting('max_replication_slots')::int AS full FROM pg_replication_slots`
  return used?.full === true ? await allInUse(sql) : null
}

async function createSlot(sql: Sql, slot: string): Promise<Pick<FoundSlot, 'confirmedFlush' | 'failover'>> {
  try {
    // It takes as long as the longest transaction that is open; who waits says so, and has a limit of his own.
    return await sql.begin(async (tx) => {
      const [server] = await tx<{ version: number }[]>`
        SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true),
          current_setting('server_version_num')::int AS version`
      const failover = (server?.version ?? 0) >= FAILOVER_FROM
      const [created] = await (failover
        ? tx<
            { lsn: string }[]
          >`SELECT lsn::text FROM pg_create_logical_replication_slot(${slot}, 'pgoutput', failover => true)`
        : tx<{ lsn: string }[]>`SELECT lsn::text FROM pg_create_logical_replication_slot(${slot}, 'pgoutput')`)
      return { confirmedFlush: parseLsn(created?.lsn ?? ''), failover: failover || null }
    })
  } catch (error) {
    if (codeOf(error) !== '53400') throw error
    throw settings(await allInUse(sql))
  }
}

async function allInUse(sql: Sql): Promise<string> {
  const rows = await sql<{ name: string; max: string }[]>`
    SELECT slot_name || CASE WHEN active THEN '' ELSE ' (unused)' END AS name, current_setting('max_replication_slots') AS max
    FROM pg_replication_slots ORDER BY active, slot_name LIMIT 20`
  const names = rows.map((row) => row.name).join(', ')
  return `all ${rows[0]?.max ?? '0'} replication slots are in use: raise max_replication_slots and restart Postgres, or drop one that nobody needs${names === '' ? '' : ` (${names})`}`
}

/** Measures the slot. Returns null when it does not exist. Throws RockpoolError. */
export async function measureSlot(sql: Sql, slot: string): Promise<SlotMeasure | null> {
  try {
    const [row] = await sql<
      {
        wal_status: string | null
        retained: string | null
        lag: string | null
        safe: string | null
        max_mb: string | null
        awaited: string | null
      }[]
    >`
      SELECT wal_status, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint::text AS retained,
        pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint::text AS lag, safe_wal_size::text AS safe,
        (SELECT setting FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS max_mb,
        (SELECT current_setting('synchronized_standby_slots', true) FROM pg_stat_activity
          WHERE pid = active_pid AND wait_event = 'WaitForStandbyConfirmation') AS awaited
      FROM pg_replication_slots WHERE slot_name = ${slot}`
    if (!row) return null
    const max = Number(row.max_mb ?? -1)
    return {
      walStatus: row.wal_status,
      retainedBytes: Math.max(0, Number(row.retained ?? 0)),
      lagBytes: Math.max(0, Number(row.lag ?? 0)),
      safeWalBytes: row.safe === null ? null : Number(row.safe),
      maxKeepBytes: max < 0 ? null : max * 1024 * 1024,
      awaitedStandbys: row.awaited,
    }
  } catch (error) {
    throw sourceError(error)
  }
}

/**
 * Returns the session that holds the slot, or null when it is free or gone. It is a simple query, because a walsender
 * accepts no other.
 */
export async function slotHolder(sql: Sql, slot: string): Promise<SlotHolder | null> {
  const rows = await sql.unsafe<
    { pid: number; role: string | null; application: string | null; ours: boolean | null }[]
  >(`
    SELECT s.active_pid AS pid, a.usename AS role, a.application_name AS application,
      a.usename = current_user AND a.application_name = current_setting('application_name') AS ours
    FROM pg_replication_slots s LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
    WHERE s.slot_name = ${literal(slot)} AND s.active_pid IS NOT NULL`)
  const row = rows[0]
  return row
    ? { pid: Number(row.pid), role: row.role ?? '?', application: row.application ?? '', ours: row.ours === true }
    : null
}

/**
 * Ends the session that holds the slot when it is a dead one of ours: a replicator has one session at a time, and its
 * application name carries its id. Answers whom it ended. Somebody else is left alone: ROCKPOOL_SLOT_TAKEN, which names
 * him.
 */
export async function freeSlot(sql: Sql, slot: string): Promise<SlotHolder | null> {
  const first = await slotHolder(sql, slot)
  for (let tries = 0, holder = first; holder; tries++, holder = await slotHolder(sql, slot)) {
    if (!holder.ours || tries >= FREE_TRIES) throw taken(slot, holder)
    await sql.unsafe(`SELECT pg_terminate_backend(${holder.pid})`)
    await new Promise((resolve) => setTimeout(resolve, FREE_WAIT_MS))
  }
  return first
}

/**
 * Drops the slot, also from a dead session of ours. One of the same name in another database of the server is not ours,
 * and stays. Throws ROCKPOOL_SLOT_TAKEN, or ROCKPOOL_SOURCE_UNREACHABLE when
 * that one does not end.
 */
export async function dropSlot(sql: Sql, slot: string): Promise<void> {
  try {
    const row = await readSlot(sql, slot)
    if (row?.mine !== true) return
    await freeSlot(sql, slot)
    await sql`SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = ${slot}`
  } catch (error) {
    throw sourceError(error)
  }
}

export const taken = (slot: string, { pid, role, application, ours }: SlotHolder) =>
  ours ? stillHeld(slot, pid) : takenBy(slot, { pid, role, application })

/** The error for a session of ours that was terminated but has not ended, because it or its machine hangs. */
const stillHeld = (slot: string, pid: number) =>
  new RockpoolError(
    'ROCKPOOL_SOURCE_UNREACHABLE',
    `an earlier session of this Rockpool (pid ${pid}) still holds the replication slot ${slot}: it was terminated, but Postgres has not ended it yet`,
  )

const takenBy = (slot: string, { pid, role, application }: Pick<SlotHolder, 'pid' | 'role' | 'application'>) =>
  new RockpoolError(
    'ROCKPOOL_SLOT_TAKEN',
    `the replication slot ${slot} is used by another process: pid ${pid}, role ${role}, application_name ${JSON.stringify(application)}. Give this Rockpool a SLOT of its own, or end that one: SELECT pg_terminate_backend(${pid})`,
  )

const codeOf = (error: unknown) => (error instanceof Error && 'code' in error ? String(error.code) : '')
const settings = (message: string) => new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', message)
const literal = (text: string) => `'${text.replaceAll("'", "''")}'`
