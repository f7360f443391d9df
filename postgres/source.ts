import type { Sql } from 'postgres'
import { RockpoolError } from '../protocol/errors.ts'
import { findTables, type FoundTable, type RefusedTable, type TableName } from './catalog.ts'
import { sourceError } from './connection.ts'
import { parseLsn } from './lsn.ts'
import type { CatalogTable, Lsn, SourceIdentity } from './types.ts'

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
  publication: string
  slot: { created: boolean; lost: boolean; confirmedFlush: Lsn; activePid: number | null }
  walEnd: Lsn
  walSenderTimeoutMs: number
}

export const DEFAULT_PUBLICATION = 'rockpool'
const MIN_VERSION = 140_000

/**
 * Checks the database and makes publication and slot, in this order: what is committed in between would be lost otherwise. Throws
 * ROCKPOOL_SOURCE_SETTINGS with one line that says what to do, or ROCKPOOL_SOURCE_UNREACHABLE.
 */
export async function prepareSource(sql: Sql, options: PrepareOptions): Promise<PreparedSource> {
  try {
    const server = await checkServer(sql)
    const found = await findTables(sql, options.tables)
    const missing = options.tables.filter((name) => !name.name.endsWith('%') && !found.some((table) => sameTable(table, name)))
    const refusedTables = [
      ...missing.map((name) => ({ table: `${name.schema}.${name.name}`, reason: 'there is no such table' })),
      ...found.flatMap((table) => (table.refused === null ? [] : [{ table: `${table.schema}.${table.name}`, reason: table.refused }])),
    ]
    const usable = found.filter((table) => table.refused === null)
    const publication = options.publication ?? DEFAULT_PUBLICATION
    if (options.publication === undefined) await keepPublication(sql, publication, usable)
    const published = await publishedTables(sql, publication)
    if (published === null) throw settings(`there is no publication ${publication}: CREATE PUBLICATION ${publication} FOR TABLE …`)
    const tables = usable.flatMap((table) => {
      const entry = published.get(table.oid)
      if (entry === undefined) {
        refusedTables.push({ table: `${table.schema}.${table.name}`, reason: `it is not in the publication ${publication}` })
        return []
      }
      const { refused: _, ...rest } = table
      const columns = rest.columns.filter((column) => entry.columns === null || entry.columns.includes(column.name))
      return [{ ...rest, columns, fingerprint: `${entry.id} ${rest.fingerprint}` }]
    })
    const slot = await keepSlot(sql, options.slot)
    return { ...server, tables, refusedTables, publication, slot }
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

async function keepPublication(sql: Sql, publication: string, tables: readonly FoundTable[]): Promise<void> {
  const wanted = new Map(tables.map((table) => [table.oid, qualified(table)]))
  const published = await publishedTables(sql, publication)
  const name = identifier(publication)
  try {
    if (published === null) await sql.unsafe(`CREATE PUBLICATION ${name}`)
    const add = [...wanted].filter(([oid]) => !published?.has(oid)).map(([, table]) => table)
    const drop = [...(published ?? [])].filter(([oid]) => !wanted.has(oid)).map(([, entry]) => qualified(entry))
    if (add.length > 0) await sql.unsafe(`ALTER PUBLICATION ${name} ADD TABLE ${add.join(', ')}`)
    if (drop.length > 0) await sql.unsafe(`ALTER PUBLICATION ${name} DROP TABLE ${drop.join(', ')}`)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === '42501')) throw error
    throw settings(
      `the role may not make the publication ${publication} (${error.message}): let the owner of the tables run CREATE PUBLICATION ${publication} FOR TABLE … and set PUBLICATION, or grant CREATE on the database and ownership`,
    )
  }
}

interface Published extends TableName {
  /** Another one when the table was taken out and put back in between. */
  id: string
  /** Null: all. */
  columns: string[] | null
}

/** Tables of a publication by oid; null when there is no such publication. */
async function publishedTables(sql: Sql, publication: string): Promise<Map<number, Published> | null> {
  const [exists] = await sql<{ oid: string; all: boolean }[]>`
    SELECT oid::text, puballtables AS all FROM pg_publication WHERE pubname = ${publication}`
  if (!exists) return null
  const rows = await sql<{ oid: string; schema: string; name: string; id: string | null; columns: string[] | null }[]>`
    SELECT c.oid::text, t.schemaname AS schema, t.tablename AS name,
      (SELECT r.oid::text FROM pg_publication_rel r WHERE r.prrelid = c.oid AND r.prpubid = ${exists.oid}::oid) AS id,
      to_json(to_jsonb(t) -> 'attnames') AS columns
    FROM pg_publication_tables t JOIN pg_namespace n ON n.nspname = t.schemaname
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
    WHERE t.pubname = ${publication}`
  return new Map(
    rows.map((row) => [Number(row.oid), { schema: row.schema, name: row.name, id: row.id ?? exists.oid, columns: row.columns }]),
  )
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
const sameTable = (a: TableName, b: TableName) => a.schema === b.schema && a.name === b.name
const identifier = (name: string) => `"${name.replaceAll('"', '""')}"`
const qualified = (table: TableName) => `${identifier(table.schema)}.${identifier(table.name)}`
