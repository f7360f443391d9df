import type { Sql } from 'postgres'
import { tableText, type TableName } from '../../protocol/tables.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import { findTables, type FoundTable } from './catalog/catalog.ts'
import { catalogVersion } from './catalog/catalog-watch.ts'
import { sourceError } from './wire/connection.ts'
import { followTables } from './catalog/follow.ts'
import { meantTables, missingNames } from './catalog/near-names.ts'
import { parseLsn } from './stream/lsn.ts'
import { keepPublication, membersOf, publish, publishedTables } from './catalog/publication.ts'
import { keepSlot, type FoundSlot } from './stream/slot.ts'
import { waitsForStandby } from './catalog/standbys.ts'
import type { RefusedTable } from '../source.ts'
import type { CatalogTable, Lsn, SourceIdentity, WantedColumns } from './types.ts'

export interface PrepareOptions {
  /** A publication that must exist and is not changed. Without it, our own is kept equal to the tables. */
  publication?: string
  /** The name of our own publication, `rockpool` by default. */
  ownPublication?: string
  slot: string
  tables: readonly TableName[]
  /** Returns what is read of the table with these names. Absent means everything. */
  columns?: (names: readonly TableName[]) => WantedColumns
  /** Whether our own publication names the columns that are read, see `publishedColumns`. */
  nameColumns?: boolean
  /** Called with true before the slot is created, which waits for every open transaction, and with false afterwards. */
  slotWaits?: (waiting: boolean) => void
}

export interface PreparedSource {
  identity: SourceIdentity
  serverVersion: number
  tables: CatalogTable[]
  /** Tables of the sync config that do not exist or cannot be followed. */
  refusedTables: RefusedTable[]
  /** `schema.name` of the tables that the publication sends and no sync config reads. */
  unread: string[]
  /** OIDs of all tables that were examined, followed or not, because the stream may describe any of them. */
  seen: ReadonlySet<number>
  publication: string
  /** What `catalogVersion` returns as long as nothing of this changes. */
  catalogVersion: string
  slot: FoundSlot
  walEnd: Lsn
  /** The xmax of a snapshot. The 32-bit xids of the stream are near it. */
  xmax: bigint
  walSenderTimeoutMs: number
  /**
   * `idle_replication_slot_timeout` in milliseconds, after which Postgres invalidates an unused slot; 0 means never.
   */
  slotTimeoutMs: number
}

export const DEFAULT_PUBLICATION = 'rockpool'
const MIN_VERSION = 140_000
/** After this many changes of the publication by others we give up, so that they cannot keep us here for ever. */
const MAX_PUBLICATION_CHANGES = 3

/**
 * Checks the database, then creates the publication, then the slot: in the other order, what is committed in between
 * would be lost. Throws ROCKPOOL_SOURCE_SETTINGS with one line that says what to do, or ROCKPOOL_SOURCE_UNREACHABLE.
 */
export async function prepareSource(sql: Sql, options: PrepareOptions): Promise<PreparedSource> {
  try {
    const server = await checkServer(sql)
    const publication = options.publication ?? options.ownPublication ?? DEFAULT_PUBLICATION
    const followed = await followSource(sql, publication, options, server.serverVersion)
    const slot = await keepSlot(sql, options.slot, options.slotWaits)
    return { ...server, ...followed, publication, slot }
  } catch (error) {
    throw sourceError(error)
  }
}

type CheckedServer = Pick<
  PreparedSource,
  'identity' | 'serverVersion' | 'walEnd' | 'xmax' | 'walSenderTimeoutMs' | 'slotTimeoutMs'
>

/** Checks the server before anything is created. The CLI calls it too before it starts. */
export async function checkServer(sql: Sql): Promise<CheckedServer> {
  const [row] = await sql<
    {
      version: string
      wal_level: string
      wal_level_waits: boolean
      replica: boolean
      may_replicate: boolean
      standbys: string
      application: string
      timeout: string
      slot_timeout: string
      max_slots: string
      max_senders: string
      role: string
      database: string
    }[]
  >`
    SELECT current_setting('server_version_num') AS version, current_setting('wal_level') AS wal_level,
      (SELECT pending_restart FROM pg_settings WHERE name = 'wal_level') AS wal_level_waits, pg_is_in_recovery() AS replica,
      (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user)
        OR EXISTS (SELECT FROM pg_roles WHERE rolname IN ('rds_replication', 'rds_superuser') AND pg_has_role(current_user, oid, 'MEMBER'))
        AS may_replicate,
      current_setting('synchronous_standby_names') AS standbys, current_setting('application_name') AS application,
      coalesce(extract(epoch FROM current_setting('idle_replication_slot_timeout', true)::interval), 0)::text AS slot_timeout,
      current_setting('max_replication_slots') AS max_slots, current_setting('max_wal_senders') AS max_senders,
      (SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout') AS timeout,
      quote_ident(current_user) AS role, current_database() AS database`
  if (!row) throw settings('the database returned no row')
  const serverVersion = Number(row.version)
  if (serverVersion < MIN_VERSION)
    throw settings(`Postgres ${Math.floor(serverVersion / 10_000)} is too old: Rockpool needs 14 or newer`)
  if (row.replica) throw settings('the database URL names a replica: use the URL of the primary')
  const problems: string[] = []
  if (row.wal_level !== 'logical') {
    const advice = row.wal_level_waits
      ? 'it was changed, and Postgres must be restarted'
      : 'ALTER SYSTEM SET wal_level = logical, then restart Postgres'
    problems.push(`wal_level is ${row.wal_level}, it must be logical: ${advice}`)
  }
  if (!row.may_replicate) problems.push(`the role ${row.role} may not replicate: ALTER ROLE ${row.role} REPLICATION`)
  const standby = waitsForStandby(row.standbys, row.application)
  if (standby !== null) {
    problems.push(
      `synchronous_standby_names names ${standby}, so the application's commits would wait for Rockpool: name the standbys instead`,
    )
  }
  for (const [name, value] of [
    ['max_replication_slots', row.max_slots],
    ['max_wal_senders', row.max_senders],
  ]) {
    if (Number(value) === 0) problems.push(`${name} is 0: ALTER SYSTEM SET ${name} = 10, then restart Postgres`)
  }
  if (problems.length > 0) throw settings(problems.join('. '))
  const [system] = await sql<{ system: string; timeline: number; wal_end: string; xmax: string }[]>`
    SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system,
      (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline, pg_current_wal_flush_lsn()::text AS wal_end,
      pg_snapshot_xmax(pg_current_snapshot())::text AS xmax`
  return {
    identity: {
      systemIdentifier: system?.system ?? '',
      timeline: Number(system?.timeline ?? 0),
      database: row.database,
    },
    serverVersion,
    walEnd: parseLsn(system?.wal_end ?? ''),
    xmax: BigInt(system?.xmax ?? 0),
    walSenderTimeoutMs: Number(row.timeout),
    slotTimeoutMs: Number(row.slot_timeout) * 1_000,
  }
}

/**
 * Takes the catalog version before it reads the catalog, so that a change in between shows as a difference later. When
 * it has changed a publication of our own, it reads everything again.
 */
async function followSource(sql: Sql, publication: string, options: PrepareOptions, serverVersion: number) {
  const names = options.tables
  const own = options.publication === undefined
  for (let changes = 0; ; changes++) {
    const version = await catalogVersion(sql, publication, names)
    const found = await findTables(sql, names)
    const usable = found.filter((table) => table.named && table.refused === null)
    if (
      own &&
      changes < MAX_PUBLICATION_CHANGES &&
      (await keepPublication(sql, publication, usable, publishedColumns(options, serverVersion)))
    )
      continue
    const published = await publishedTables(sql, publication)
    if (published === null)
      throw settings(`there is no publication ${publication}: ${publish(publication, false, membersOf(usable))}`)
    const meant = await meantTables(sql, missingNames(names, found))
    const columns = options.columns ?? everything
    const { tables, refusedTables } = followTables(names, found, published, publication, serverVersion, columns, meant)
    const seen = new Set(found.map((table) => table.oid))
    const unread = [...published.values()]
      .filter(({ oid }) => !seen.has(oid))
      .map(({ schema, name }) => tableText({ schema, name }))
    return { tables, refusedTables, unread: unread.sort(), seen, catalogVersion: version }
  }
}

const COLUMN_LISTS_FROM = 150_000

/**
 * Returns the columns for the publication to name, or null for all: those that are read, and the key. Null before
 * Postgres 15; where the identity is all columns, because the application's own UPDATE would fail; and for partitioned
 * tables, for which Postgres refuses a list. It has to be asked for by a setting, because the application can then
 * neither drop a named column nor change its type (2026-11, up to 18).
 */
function publishedColumns({ nameColumns, columns }: PrepareOptions, serverVersion: number) {
  if (!nameColumns || !columns || serverVersion < COLUMN_LISTS_FROM) return undefined
  return (table: FoundTable): string[] | null => {
    if (table.identity === 'f' || table.partitioned) return null
    const { all, read } = columns([table, ...table.ancestors])
    const plain = table.columns.filter(({ generated }) => generated === '')
    const named = plain.filter(
      ({ name, type }) => table.key.includes(name) || read.has(name) || (all && type.name !== 'bytea'),
    )
    return named.length === plain.length ? null : named.map(({ name }) => name)
  }
}

const everything = (): WantedColumns => ({ all: true, read: new Set(), named: new Set() })
const settings = (message: string) => new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', message)
