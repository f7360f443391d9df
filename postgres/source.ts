import type { Sql } from 'postgres'
import { RockpoolError } from '../protocol/errors.ts'
import { findTables } from './catalog.ts'
import { catalogVersion } from './catalog-watch.ts'
import { sourceError } from './connection.ts'
import { followTables, type RefusedTable } from './follow.ts'
import { parseLsn } from './lsn.ts'
import { keepPublication, publishedTables } from './publication.ts'
import type { CatalogTable, Lsn, SourceIdentity, TableName } from './types.ts'

export interface PrepareOptions {
  /** Given: it must exist and is not changed. Not given: `rockpool` is kept equal to the tables. */
  publication?: string
  slot: string
  tables: readonly TableName[]
}

export interface PreparedSource {
  identity: SourceIdentity
  serverVersion: number
  tables: CatalogTable[]
  /** Tables of the sync config that cannot be followed, or do not exist. */
  refusedTables: RefusedTable[]
  /** Oids of everything that was looked at, followed or not: the stream may describe it. */
  seen: ReadonlySet<number>
  publication: string
  /** What `catalogVersion` says as long as all this is still so. */
  catalogVersion: string
  slot: { created: boolean; lost: boolean; confirmedFlush: Lsn; activePid: number | null }
  walEnd: Lsn
  walSenderTimeoutMs: number
}

export const DEFAULT_PUBLICATION = 'rockpool'
const MIN_VERSION = 140_000
/** Somebody who changes the same publication all the time does not keep us here for ever. */
const MAX_PUBLICATION_CHANGES = 3

/**
 * Checks the database and makes publication and slot, in this order: what is committed in between would be lost otherwise. Throws
 * ROCKPOOL_SOURCE_SETTINGS with one line that says what to do, or ROCKPOOL_SOURCE_UNREACHABLE.
 */
export async function prepareSource(sql: Sql, options: PrepareOptions): Promise<PreparedSource> {
  try {
    const server = await checkServer(sql)
    const publication = options.publication ?? DEFAULT_PUBLICATION
    const followed = await followSource(sql, publication, options, server.serverVersion)
    const slot = await keepSlot(sql, options.slot)
    return { ...server, ...followed, publication, slot }
  } catch (error) {
    throw sourceError(error)
  }
}

export async function dropSlot(sql: Sql, slot: string): Promise<void> {
  try {
    await sql`SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = ${slot} AND active_pid IS NOT NULL`
    await sql`SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = ${slot}`
  } catch (error) {
    throw sourceError(error)
  }
}

/** What can be said before anything is made; also what the CLI asks before it starts. */
export async function checkServer(sql: Sql): Promise<Pick<PreparedSource, 'identity' | 'serverVersion' | 'walEnd' | 'walSenderTimeoutMs'>> {
  const [row] = await sql<
    {
      version: string
      wal_level: string
      replica: boolean
      may_replicate: boolean
      standbys: string
      timeout: string
      role: string
      database: string
    }[]
  >`
    SELECT current_setting('server_version_num') AS version, current_setting('wal_level') AS wal_level, pg_is_in_recovery() AS replica,
      (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user)
        OR EXISTS (SELECT FROM pg_roles WHERE rolname IN ('rds_replication', 'rds_superuser') AND pg_has_role(current_user, oid, 'MEMBER'))
        AS may_replicate,
      current_setting('synchronous_standby_names') AS standbys,
      (SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout') AS timeout,
      current_user AS role, current_database() AS database`
  if (!row) throw settings('the database answers nothing')
  const serverVersion = Number(row.version)
  if (serverVersion < MIN_VERSION) throw settings(`Postgres ${Math.floor(serverVersion / 10_000)} is too old: 14 or newer is needed`)
  if (row.replica) throw settings('the database URL names a replica: use the URL of the primary')
  if (row.wal_level !== 'logical') {
    throw settings(`wal_level is ${row.wal_level}, it must be logical: ALTER SYSTEM SET wal_level = logical, then restart Postgres`)
  }
  if (!row.may_replicate) throw settings(`the role ${row.role} may not replicate: ALTER ROLE ${row.role} REPLICATION`)
  if (/(^|[\s,(])"?\*"?([\s,)]|$)/.test(row.standbys)) {
    throw settings("synchronous_standby_names is '*', so commits would wait for Rockpool: name the standbys instead")
  }
  const [system] = await sql<{ system: string; timeline: number; wal_end: string }[]>`
    SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system,
      (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline, pg_current_wal_flush_lsn()::text AS wal_end`
  return {
    identity: { systemIdentifier: system?.system ?? '', timeline: Number(system?.timeline ?? 0), database: row.database },
    serverVersion,
    walEnd: parseLsn(system?.wal_end ?? ''),
    walSenderTimeoutMs: Number(row.timeout),
  }
}

/**
 * The version is taken before what it stands for is read: a change in between shows as a difference later. A publication of our own is kept equal
 * to the tables, and then everything is read again.
 */
async function followSource(sql: Sql, publication: string, options: PrepareOptions, serverVersion: number) {
  const names = options.tables
  const own = options.publication === undefined
  for (let changes = 0; ; changes++) {
    const version = await catalogVersion(sql, publication, names)
    const found = await findTables(sql, names)
    const usable = found.filter((table) => table.named && table.refused === null)
    if (own && changes < MAX_PUBLICATION_CHANGES && (await keepPublication(sql, publication, usable))) continue
    const published = await publishedTables(sql, publication)
    if (published === null) throw settings(`there is no publication ${publication}: CREATE PUBLICATION ${publication} FOR TABLE …`)
    const { tables, refusedTables } = followTables(names, found, published, publication, serverVersion)
    return { tables, refusedTables, seen: new Set(found.map((table) => table.oid)), catalogVersion: version }
  }
}

async function keepSlot(sql: Sql, slot: string): Promise<PreparedSource['slot']> {
  const [row] = await sql<
    { plugin: string | null; database: string | null; mine: boolean; flush: string | null; wal_status: string | null; pid: number | null }[]
  >`
    SELECT plugin, database, database = current_database() AS mine, confirmed_flush_lsn::text AS flush, wal_status, active_pid AS pid
    FROM pg_replication_slots WHERE slot_name = ${slot}`
  if (!row) {
    const [created] = await sql<{ lsn: string }[]>`SELECT lsn::text FROM pg_create_logical_replication_slot(${slot}, 'pgoutput')`
    return { created: true, lost: false, confirmedFlush: parseLsn(created?.lsn ?? ''), activePid: null }
  }
  if (row.plugin !== 'pgoutput') throw settings(`the replication slot ${slot} is not one of pgoutput: set SLOT to another name`)
  if (!row.mine) throw settings(`the replication slot ${slot} belongs to the database ${row.database ?? '?'}: set SLOT to another name`)
  const lost = row.wal_status === 'lost' || row.flush === null
  return { created: false, lost, confirmedFlush: parseLsn(row.flush ?? '0/0'), activePid: row.pid }
}

const settings = (message: string) => new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', message)
