import postgres, { type Sql } from 'postgres'
import { RockpoolError, type ErrorCode } from '../../../protocol/errors.ts'
import { shownAddress } from './address.ts'
import { FailedSocket } from './failed-socket.ts'
import { GuardedSocket, type RawSocket } from './guarded-socket.ts'
import { isPoolerRefusal } from './pooler.ts'
import { parseSourceUrl, type HostPort, type ParseOptions, type SourceUrl, type SslMode } from './source-url.ts'
import { PUBLIC, trustOf, type Trust } from './trust.ts'

export interface SocketOptions {
  sslmode: SslMode
  /** Who vouches for the server. It has a meaning with TLS only. */
  trust: Trust
  /** TLS of our own begins without asking for it first. */
  direct?: boolean
  /** Aborts the connecting; nothing happens to a socket that is open. */
  signal: AbortSignal
}

/** Connects and, when wanted, agrees on TLS. Resolves with a socket as Node's, on which the startup packet is the next thing. */
export type OpenSocket = (address: HostPort, options: SocketOptions) => Promise<RawSocket>

export interface ConnectOptions extends ParseOptions {
  /** `openSocket` in workerd; absent in Node. */
  socket?: OpenSocket
  /** A walsender connection: `replication=database`. */
  replication?: boolean
  max?: number
  /**
   * By which the server knows us, instead of what the URL says. A replicator has one of its own, so that it can tell a dead session of itself from
   * somebody else's.
   */
  applicationName?: string
  /** DATABASE_CA: certificates in PEM, or a name of what is shipped. */
  ca?: string | undefined
  /** For statements of people and of examples: no settings of ours, only what the URL says. */
  asIs?: boolean
  /** Called for every connection: whether its certificate was verified. */
  opened?: (verified: boolean) => void
}

/**
 * Settings under which Postgres prints values in one way, whatever the defaults of database and role are. The walsender's text follows them as
 * that of a query does, so both connections send the same. READ COMMITTED: a statement that waited for a lock must see what is there then.
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
  // Under row security a query would return fewer rows without a word; so it is an error instead.
  row_security: 'off',
  // What we write ourselves (publication, markers) never waits for a standby.
  synchronous_commit: 'local',
}

/** As Postgres prints them. No statement of ours may stand for ever, or keep others waiting behind a lock that it waits for; a stream goes on. */
const TIMEOUTS: Record<string, string> = { statement_timeout: '5min', lock_timeout: '30s' }
const NO_TIMEOUTS: Record<string, string> = { statement_timeout: '0', lock_timeout: '0' }
const settingsOf = (replication: boolean) => ({ ...CANONICAL, ...(replication ? NO_TIMEOUTS : TIMEOUTS) })

/** Throws ROCKPOOL_SETTINGS or ROCKPOOL_SOURCE_SETTINGS when URL or DATABASE_CA cannot be used; connecting begins with the first query. */
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
    password: source.password,
    database: source.database,
    max: options.max ?? 1,
    connection,
    ssl: false,
    fetch_types: options.asIs === true,
    prepare: false,
    connect_timeout: source.connectSeconds,
    max_lifetime: null,
    onnotice: () => {},
    // The driver's own way to TLS tells neither modes nor failures apart.
    socket: () => open(source, { ...options, trust, isEnded: () => ended }).catch((error: unknown) => new FailedSocket(error)),
  }
  const sql = postgres(settings)
  const end = sql.end.bind(sql)
  sql.end = (how) => end(how).finally(() => (ended = true))
  return sql
}

/**
 * In `options`, as `-c name=value`, and not as parameters of their own: Neon's proxy passes on only what it knows, `options` among it. Ours come
 * last and win.
 */
function startupOptions(given: string, replication: boolean): string {
  const ours = Object.entries(settingsOf(replication)).map(([name, value]) => `-c ${name}=${value.replace(/[\\ ]/g, '\\$&')}`)
  return [...(given === '' ? [] : [given]), ...ours].join(' ')
}

interface Opening extends ConnectOptions {
  /** Who vouches for each host of the URL. */
  trust: readonly Trust[]
  /** Nobody wants the connection any more. */
  isEnded(): boolean
}

/** Several hosts: the first that answers as a primary. When none does, the code is the one that all of them have. */
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

async function openOne(source: SourceUrl, address: HostPort, trust: Trust, { socket, opened, isEnded }: Opening): Promise<object> {
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
    const raw: RawSocket = await Promise.race([connect(address, { sslmode, trust, direct, signal: abort.signal }), late])
    // The driver forgets a socket that it waits for when it is ended, and goes on with it when it comes (postgres.js 3.4, 2026-11).
    if (isEnded()) {
      raw.destroy()
      throw new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', 'the connection is not wanted any more')
    }
    opened?.(raw.authorized === true)
    return new GuardedSocket(raw, address, source, trust)
  } catch (error) {
    const advice = onlyIpv6(address)
    if (advice === '' || error instanceof RockpoolError) throw error
    // Whatever the runtime says of it, the name has no address that it reaches.
    const { message } = sourceError(error)
    throw new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', `${shownAddress(address)}: ${message}.${advice}`, { cause: error })
  } finally {
    clearTimeout(timer)
  }
}

/** Of a host that is known to have an IPv6 address alone (2026-11). */
const onlyIpv6 = ({ host }: HostPort): string =>
  /^db\.[^.]+\.supabase\.co\.?$/i.test(host)
    ? ' The direct host of Supabase has IPv6 only: where that does not reach, turn its IPv4 add-on on'
    : ''

async function isPrimary(source: SourceUrl, address: HostPort, trust: Trust, options: Opening): Promise<boolean> {
  const { user, password, database, connectSeconds } = source
  const settings = {
    ...{ host: address.host, port: address.port, user, password, database, ssl: false, max: 1, fetch_types: false, prepare: false },
    connect_timeout: connectSeconds,
    connection: { application_name: source.applicationName, ...(source.options === '' ? {} : { options: source.options }) },
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
 * Whether this connection, plain or of replication, leads to Postgres itself: whether what we asked for at its start is in force. Throws
 * ROCKPOOL_SOURCE_SETTINGS for a pooler, and everything that keeps it from being opened.
 */
export async function checkConnection(sql: Sql): Promise<void> {
  const expected: Record<string, string> = settingsOf(sql.options.connection.replication !== undefined)
  const names = Object.keys(expected)
  try {
    // The simple protocol: a walsender speaks no other.
    const [row] = await sql.unsafe<Record<string, string>[]>(
      `SELECT ${names.map((name) => `pg_catalog.current_setting('${name}') AS "${name}"`).join(', ')}`,
    )
    const other = names.filter((name) => row?.[name] !== expected[name])
    if (other.length > 0) {
      throw new RockpoolError(
        'ROCKPOOL_SOURCE_SETTINGS',
        `the connection does not keep the settings that it begins with (${other.map((name) => `${name} is ${row?.[name]}`).join(', ')}): a connection pooler is in between. Use the database's direct address`,
      )
    }
  } catch (error) {
    throw sourceError(error)
  }
}

/** A statement waited too long for somebody else's lock, and can be tried again. */
export const isLockTimeout = (error: unknown): boolean =>
  error instanceof RockpoolError && error.cause instanceof Error && 'code' in error.cause && error.cause.code === '55P03'

/** SQLSTATEs that are answered by setting Postgres up, not by trying again. */
const SETTINGS = new Set(['28P01', '28000', '3D000', '42501', '42704', '42P01', '42P10', '55000', '0A000', '22023', '58P01'])

/** EPIPE is none. */
const SQLSTATE = /^(?=.*\d)[0-9A-Z]{5}$/
/** Classes of SQLSTATEs by which Postgres or something before it says that it is not there: connections, resources, an operator. */
const AWAY = /^(08|53|57)/

/** Any error of postgres.js or of a socket as ROCKPOOL_SOURCE_SETTINGS (somebody must do something) or ROCKPOOL_SOURCE_UNREACHABLE; ROCKPOOL_SOURCE_TLS for somebody in between. */
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
    // The server sees another certificate than we do.
    const advice = `somebody between us and Postgres ends TLS: a proxy of your host, for which there is channel_binding=disable beside a certificate that is verified, or somebody who is not to be trusted: ${text}`
    return new RockpoolError('ROCKPOOL_SOURCE_TLS', advice, { cause: error, details: { reason: 'login' } })
  }
  if (SETTINGS.has(code)) return new RockpoolError('ROCKPOOL_SOURCE_SETTINGS', `Postgres refuses: ${text}`, { cause: error })
  const what = SQLSTATE.test(code) && !AWAY.test(code) ? 'Postgres fails' : 'Postgres cannot be reached'
  return new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', `${what}: ${text}`, { cause: error })
}
