import postgres, { type Sql } from 'postgres'
import { RockpoolError } from '../protocol/errors.ts'

/** What postgres.js takes as its `socket` option: `openSocket` in workerd, nothing in Node. */
export type SocketFactory = (options: { host: string[]; port: number[]; ssl?: unknown }) => Promise<unknown>

export interface ConnectOptions {
  socket?: SocketFactory
  /** A walsender connection: `replication=database`. */
  replication?: boolean
  max?: number
  /** By which the server knows us. A replicator has one of its own, so that it can tell a dead session of itself from somebody else's. */
  applicationName?: string
}

/**
 * Settings under which Postgres prints values in one way, whatever the database's defaults are. The walsender's text follows them as that of
 * a query does, so both connections send the same.
 */
const CANONICAL = {
  DateStyle: 'ISO, YMD',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  bytea_output: 'hex',
  extra_float_digits: '1',
  search_path: 'pg_catalog',
  lc_monetary: 'C',
  client_encoding: 'UTF8',
}

const CONNECT_SECONDS = 10

export function connectSource(url: string, options: ConnectOptions = {}): Sql {
  // Under row security a query would return fewer rows without a word; so it is an error instead.
  // What we write ourselves (publication, markers) never waits for a standby.
  const connection: Record<string, string> = {
    application_name: options.applicationName ?? 'rockpool',
    ...CANONICAL,
    row_security: 'off',
    synchronous_commit: 'local',
  }
  if (options.replication) {
    delete connection.row_security
    connection.replication = 'database'
  }
  return postgres(url, {
    max: options.max ?? 1,
    connection,
    fetch_types: false,
    prepare: false,
    connect_timeout: CONNECT_SECONDS,
    max_lifetime: null,
    onnotice: () => {},
    ...(options.socket ? { socket: options.socket } : {}),
  })
}

/** SQLSTATEs that are answered by setting Postgres up, not by trying again. */
const SETTINGS = new Set(['42501', '42704', '42P01', '42P10', '55000', '0A000', '22023', '58P01'])

/** Any error of postgres.js or of a socket as ROCKPOOL_SOURCE_SETTINGS (somebody must do something) or ROCKPOOL_SOURCE_UNREACHABLE. */
export function sourceError(error: unknown): RockpoolError {
  if (error instanceof RockpoolError) return error
  const message = error instanceof Error ? error.message : String(error)
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const text = code === '' ? message : `${message} (${code})`
  return SETTINGS.has(code)
    ? new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', `Postgres refuses: ${text}`, { cause: error })
    : new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', `Postgres cannot be reached: ${text}`, { cause: error })
}
