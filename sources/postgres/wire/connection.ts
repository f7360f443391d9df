import postgres, { type Sql } from 'postgres'
import { RockpoolError, type ErrorCode } from '../../../protocol/errors.ts'
import { shownAddress } from './address.ts'
import { FailedSocket } from './failed-socket.ts'
import { GuardedSocket, type RawSocket } from './guarded-socket.ts'
import { preparePassword } from './password.ts'
import { isPoolerRefusal } from './pooler.ts'
import { parseSourceUrl, type HostPort, type ParseOptions, type SourceUrl, type SslMode } from './source-url.ts'
import { PUBLIC, trustOf, type Trust } from './trust.ts'

// The file is long because every way to an encrypted connection is here, beside the settings that both kinds of
// connection send.

export interface SocketOptions {
  sslmode: SslMode
  /** Who vouches for the server. Only used with TLS. */
  trust: Trust
  /** Whether our own TLS begins without an SSLRequest. */
  direct?: boolean
  /** Aborts connecting. It has no effect on an open socket. */
  signal: AbortSignal
}

/**
 * Connects and, if required, starts TLS. Resolves with a socket of Node's shape that is ready for the startup packet.
 */
export type OpenSocket = (address: HostPort, options: SocketOptions) => Promise<RawSocket>

export interface ConnectOptions extends ParseOptions {
  /** `openSocket` in workerd; absent in Node. */
  socket?: OpenSocket
  /** A walsender connection: `replication=database`. */
  replication?: boolean
  max?: number
  /**
   * Replaces the application name of the URL. A replicator has one of its own, so that it can distinguish a dead
   * session of itself from another process.
   */
  applicationName?: string
  /** DATABASE_CA: certificates in PEM, or the name of shipped roots. */
  ca?: string | undefined
  /** For statements of users and of examples: uses only the settings of the URL, none of ours. */
  asIs?: boolean
  /** Called for every connection, with whether its certificate was verified. */
  opened?: (verified: boolean) => void
}

/**
 * Settings that make Postgres print values in one way, independent of the defaults of database and role. They apply to
 * the walsender as they do to queries, so both connections send the same text. READ COMMITTED, because a statement that
 * waited for a lock must see what was committed meanwhile.
 */
const CANONICAL: Record<string, string> = {
  DateStyle: 'ISO, YMD',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  bytea_output: 'hex',
  extra_float_digits: '1',
  search_path: 'pg_catalog',
  lc_monetary: 'C',
  quote_all_identifiers: 'off',
  default_transaction_isolation: 'read committed',
  // Under row security a query would silently return fewer rows. With this it fails instead.
  row_security: 'off',
  // Our own writes (publication, markers) must not wait for a standby.
  synchronous_commit: 'local',
}

/**
 * As Postgres prints them. No statement of ours may run for ever, or make others queue after a lock that it waits for.
 * A stream is not a statement.
 */
const TIMEOUTS: Record<string, string> = { statement_timeout: '5min', lock_timeout: '30s' }
const NO_TIMEOUTS: Record<string, string> = { statement_timeout: '0', lock_timeout: '0' }
const settingsOf = (replication: boolean) => ({ ...CANONICAL, ...(replication ? NO_TIMEOUTS : TIMEOUTS) })

/**
 * Returns a client that connects at its first query. Throws ROCKPOOL_SETTINGS or ROCKPOOL_SOURCE_SETTINGS when the URL
 * or DATABASE_CA cannot be used.
 */
export function connectSource(url: string, options: ConnectOptions = {}): Sql {
  const source = parseSourceUrl(url, options)
  const trust = trustOf(source, options.ca)
  let ended = false
  const connection: Record<string, string> = {
    application_name: options.applicationName ?? source.applicationName,
    client_encoding: 'UTF8',
    options: options.asIs ? source.options : startupOptions(source.options, options.replication === true),
  }
  if (options.replication) connection.replication = 'database'
  const settings = {
    host: source.hosts[0]?.host ?? '',
    port: source.hosts[0]?.port ?? 0,
    user: source.user,
    // The driver puts it into the key of SCRAM as it is.
    password: preparePassword(source.password),
    database: source.database,
    max: options.max ?? 1,
    connection,
    ssl: false,
    fetch_types: options.asIs === true,
    prepare: false,
    connect_timeout: source.connectSeconds,
    max_lifetime: null,
    onnotice: () => {},
    // The driver's own TLS distinguishes neither modes nor failures.
    socket: () =>
      open(source, { ...options, trust, isEnded: () => ended }).catch((error: unknown) => new FailedSocket(error)),
  }
  const sql = postgres(settings)
  const end = sql.end.bind(sql)
  sql.end = (how) => end(how).finally(() => (ended = true))
  return sql
}

/**
 * Settings go into `options`, as `-c name=value`, because Neon's proxy passes on only the startup parameters that it
 * knows, which include `options`. Ours come last and win.
 */
function startupOptions(given: string, replication: boolean): string {
  const ours = Object.entries(settingsOf(replication)).map(
    ([name, value]) => `-c ${name}=${value.replace(/[\\ ]/g, '\\$&')}`,
  )
  return [...(given === '' ? [] : [given]), ...ours].join(' ')
}

interface Opening extends ConnectOptions {
  /** For each host of the URL, who vouches for it. */
  trust: readonly Trust[]
  /** Returns true when the connection is no longer needed. */
  isEnded(): boolean
}

/**
 * Opens the first host that answers as a primary. When none does, the code of the error is the one that all failures
 * share.
 */
async function open(source: SourceUrl, options: Opening): Promise<object> {
  const problems: string[] = []
  const codes = new Set<ErrorCode>()
  for (const [i, address] of source.hosts.entries()) {
    const trust = options.trust[i] ?? PUBLIC
    try {
      if (source.hosts.length > 1 && !(await isPrimary(source, address, trust, options))) {
        problems.push(`${shownAddress(address)} is a replica`)
        codes.add('ROCKPOOL_SOURCE_UNREACHABLE')
        continue
      }
      return await openOne(source, address, trust, options)
    } catch (error) {
      if (source.hosts.length === 1) throw error
      problems.push(`${shownAddress(address)}: ${error instanceof Error ? error.message : String(error)}`)
      codes.add(sourceError(error).code)
    }
  }
  const [code = 'ROCKPOOL_SOURCE_UNREACHABLE'] = codes.size === 1 ? codes : []
  throw new RockpoolError(code, `none of the hosts can be used: ${problems.join('; ')}`)
}

async function openOne(
  source: SourceUrl,
  address: HostPort,
  trust: Trust,
  { socket, opened, isEnded }: Opening,
): Promise<object> {
  const { sslmode, direct, connectSeconds } = source
  const connect = socket ?? (await import('./node-socket.ts')).openNodeSocket
  const abort = new AbortController()
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const problem = `${shownAddress(address)} did not answer within ${connectSeconds} s: is it reachable from the internet?${onlyIpv6(address)}`
      reject(new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', problem))
      abort.abort()
    }, connectSeconds * 1000)
  })
  try {
    const raw: RawSocket = await Promise.race([
      connect(address, { sslmode, trust, direct, signal: abort.signal }),
      late,
    ])
    // A driver that is ended while it waits for a socket forgets it, but uses it when it arrives (postgres.js 3.4,
    // 2026-11).
    if (isEnded()) {
      raw.destroy()
      throw new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', 'the connection is no longer needed')
    }
    opened?.(raw.authorized === true)
    return new GuardedSocket(raw, address, source, trust)
  } catch (error) {
    const advice = onlyIpv6(address)
    if (advice === '' || error instanceof RockpoolError) throw error
    // Runtimes word this differently, but the name has no address that they can reach.
    const { message } = sourceError(error)
    throw new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', `${shownAddress(address)}: ${message}.${advice}`, {
      cause: error,
    })
  } finally {
    clearTimeout(timer)
  }
}

/** Returns advice for a host that is known to have only an IPv6 address (2026-11). */
const onlyIpv6 = ({ host }: HostPort): string =>
  /^db\.[^.]+\.supabase\.co\.?$/i.test(host)
    ? ' The direct host of Supabase has only IPv6: where that cannot be reached, turn on its IPv4 add-on'
    : ''

async function isPrimary(source: SourceUrl, address: HostPort, trust: Trust, options: Opening): Promise<boolean> {
  const { user, database, connectSeconds } = source
  const settings = {
    host: address.host,
    port: address.port,
    user,
    password: preparePassword(source.password),
    database,
    ssl: false,
    max: 1,
    fetch_types: false,
    prepare: false,
    connect_timeout: connectSeconds,
    connection: {
      application_name: source.applicationName,
      ...(source.options === '' ? {} : { options: source.options }),
    },
    socket: () => openOne(source, address, trust, options).catch((error: unknown) => new FailedSocket(error)),
  }
  const sql = postgres(settings)
  try {
    const [row] = await sql<{ replica: boolean }[]>`SELECT pg_is_in_recovery() AS replica`
    return row?.replica === false
  } finally {
    await sql.end({ timeout: 1 })
  }
}

/**
 * Checks that this connection, plain or of replication, leads to Postgres itself, which is the case when our startup
 * settings are in force. Throws ROCKPOOL_SOURCE_SETTINGS for a pooler, and the error of a connection that cannot be
 * opened.
 */
export async function checkConnection(sql: Sql): Promise<void> {
  const expected: Record<string, string> = settingsOf(sql.options.connection.replication !== undefined)
  const names = Object.keys(expected)
  try {
    // A walsender speaks only the simple protocol.
    const [row] = await sql.unsafe<Record<string, string>[]>(
      `SELECT ${names.map((name) => `pg_catalog.current_setting('${name}') AS "${name}"`).join(', ')}`,
    )
    const other = names.filter((name) => row?.[name] !== expected[name])
    if (other.length > 0) {
      throw new RockpoolError(
        'ROCKPOOL_SOURCE_SETTINGS',
        `the connection does not keep the settings of its startup packet (${other.map((name) => `${name} is ${row?.[name]}`).join(', ')}): there is a connection pooler in between. Use the database's direct address`,
      )
    }
  } catch (error) {
    throw sourceError(error)
  }
}

/** Returns true when a statement waited too long for another session's lock, and can be repeated. */
export const isLockTimeout = (error: unknown): boolean =>
  error instanceof RockpoolError &&
  error.cause instanceof Error &&
  'code' in error.cause &&
  error.cause.code === '55P03'

/** SQLSTATEs that need a change of Postgres's configuration. Trying again does not help. */
const SETTINGS = new Set([
  '28P01',
  '28000',
  '3D000',
  '42501',
  '42704',
  '42P01',
  '42P10',
  '55000',
  '0A000',
  '22023',
  '58P01',
])

/** Does not match the error codes of Node such as EPIPE, which have no digit. */
const SQLSTATE = /^(?=.*\d)[0-9A-Z]{5}$/
/**
 * Classes of SQLSTATEs with which Postgres, or something before it, says that it is unavailable: connections,
 * resources, operator intervention.
 */
const AWAY = /^(08|53|57)/

/**
 * Converts any error of postgres.js or of a socket: ROCKPOOL_SOURCE_SETTINGS when an operator must act,
 * ROCKPOOL_SOURCE_TLS for somebody in between, else ROCKPOOL_SOURCE_UNREACHABLE.
 */
export function sourceError(error: unknown): RockpoolError {
  if (error instanceof RockpoolError) return error
  const message = error instanceof Error ? error.message : String(error)
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const text = code === '' ? message : `${message} (${code})`
  if (isPoolerRefusal(message)) {
    const advice = `this is the answer of a connection pooler, and replication needs the database's direct address: ${text}`
    return new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', advice, { cause: error })
  }
  if (/channel binding check failed/i.test(message)) {
    // The certificate that the server bound the login to is not the one that we see.
    const advice = `TLS is terminated between us and Postgres: either by a proxy of your host (then use channel_binding=disable with a verified certificate), or by an attacker: ${text}`
    return new RockpoolError('ROCKPOOL_SOURCE_TLS', advice, { cause: error, details: { reason: 'login' } })
  }
  if (SETTINGS.has(code))
    return new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', `Postgres refuses: ${text}`, { cause: error })
  const what = SQLSTATE.test(code) && !AWAY.test(code) ? 'Postgres fails' : 'Postgres cannot be reached'
  return new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', `${what}: ${text}`, { cause: error })
}
