import { RockpoolError } from '../../../protocol/errors.ts'
import { poolerAdvice } from './pooler.ts'

// The file is long because it is one parser: every part of a URL may change the meaning of another.

/**
 * The modes of libpq. The default is `verify-full`, or `disable` on the loopback interface. `prefer` is not accepted in
 * a URL, because an attacker in between could turn TLS off. It remains from earlier versions, see `ParseOptions`. In
 * workerd every certificate is verified against the public authorities and by name, regardless of the mode; with
 * DATABASE_CA against its authorities and by name, except with `verify-ca`.
 */
export type SslMode = 'disable' | 'prefer' | 'require' | 'verify-ca' | 'verify-full'

export type ChannelBinding = 'disable' | 'prefer' | 'require'

export interface ParseOptions {
  /**
   * True for a deployment that an earlier version connected. A URL that let it continue in plain text when the server
   * offers no TLS is still accepted, and reported as `earlier`.
   */
  earlierTls?: boolean
}

/** The release that begins to refuse such a URL also for deployments of earlier versions. */
export const TLS_REQUIRED_FROM = '0.3'

export interface HostPort {
  host: string
  port: number
}

/** The content of a database URL. */
export interface SourceUrl {
  /** Hosts in the order in which they are tried. */
  hosts: HostPort[]
  user: string
  password: string
  database: string
  sslmode: SslMode
  /** The sslmode in the URL, or null when it has none. */
  saidMode: SslMode | null
  /** `sslrootcert=system`: use the public authorities even for a host with shipped roots. */
  systemRoots: boolean
  /**
   * Set when the sslmode is accepted only for a deployment of an earlier version: the mode in the URL, or null for
   * none, and what to do.
   */
  earlier: { said: string | null; advice: string } | null
  /** `sslnegotiation=direct`: our own TLS begins without an SSLRequest. Postgres 17 and newer. */
  direct: boolean
  /** Whether a login is bound to the certificate of the server, when TLS is ours. */
  channelBinding: ChannelBinding
  applicationName: string
  connectSeconds: number
  /** The `options` of the startup packet, as `psql` would send them; empty when there are none. */
  options: string
  /** Parameters of the URL that have no effect, and why, for people. */
  notes: string[]
}

const FORM = 'postgres://USER:PASSWORD@HOST:5432/DATABASE'
const DEFAULT_PORT = 5432
const DEFAULT_CONNECT_SECONDS = 10
const MAX_CONNECT_SECONDS = 60

/** Matches a URL whose special characters are encoded, as they should be. Otherwise the last @ ends the password. */
const STRICT = /^(?:([^:@/?#]*)(?::([^@/?#]*))?@)?([^@/?#]*)(?:\/([^?#]*))?(?:\?(.*))?$/s
const LENIENT = /^(?:([^:@/?#]*)(?::(.*))?@)([^@/?#]*)(?:\/([^?#]*))?(?:\?(.*))?$/s

const IGNORED: Record<string, string> = {
  sslcompression: 'nothing is compressed',
  sslsni: 'the host name is always sent',
  ssl_min_protocol_version: 'the runtime chooses the version of TLS',
  ssl_max_protocol_version: 'the runtime chooses the version of TLS',
  sslaccept: 'sslmode says what is verified',
  uselibpqcompat: 'sslmode is as in libpq',
  gssencmode: 'GSSAPI is not used',
  krbsrvname: 'GSSAPI is not used',
  keepalives: 'the runtime does that',
  keepalives_idle: 'the runtime does that',
  keepalives_interval: 'the runtime does that',
  keepalives_count: 'the runtime does that',
  tcp_user_timeout: 'the runtime does that',
  load_balance_hosts: 'hosts are tried in order',
  fallback_application_name: 'application_name is set',
  client_encoding: 'it is always UTF8',
  replication: 'Rockpool opens its own replication session',
  passfile: 'there are no files in a Worker',
  schema: 'the sync config names schemas',
  connection_limit: 'Rockpool opens few connections',
  pool_timeout: 'Rockpool opens few connections',
  statement_cache_size: 'nothing is prepared',
  prepared_statements: 'nothing is prepared',
  binaryparameters: 'values travel as text',
  binary_parameters: 'values travel as text',
  socket_timeout: 'sessions live long',
  statement_timeout: 'Rockpool sets its own',
}

const settings = (message: string) => new RockpoolError('ROCKPOOL_SETTINGS', `DATABASE_URL: ${message}`)

const ENCODED = 'with special characters encoded (# as %23, / as %2F, @ as %40)'

/**
 * Reads a URL as libpq does, including the parameters that common hosts add. Errors never show the password. Throws
 * ROCKPOOL_SETTINGS for a URL that cannot be used, ROCKPOOL_SOURCE_SETTINGS for that of a pooler.
 */
export function parseSourceUrl(url: string, { earlierTls = false }: ParseOptions = {}): SourceUrl {
  const scheme = /^postgres(?:ql)?:\/\//i.exec(url.trim())
  if (!scheme) throw settings(`it must begin with postgres:// and look like ${FORM}`)
  const rest = url.trim().slice(scheme[0].length)
  const parts = STRICT.exec(rest) ?? LENIENT.exec(rest)
  if (!parts) throw settings(`it must look like ${FORM}, ${ENCODED}`)
  // A password that is not encoded ends at its first @, and the rest of it is parsed as a name or a value, which an
  // error would show.
  const [, , , , databaseText = '', queryText = ''] = parts
  const tail = () =>
    settings(`there is an @ after the host: it must look like ${FORM}, ${ENCODED}, especially in the password`)
  if (databaseText.includes('@')) throw tail()
  try {
    return readParts(parts, earlierTls)
  } catch (error) {
    const shows = error instanceof RockpoolError && error.code === 'ROCKPOOL_SETTINGS'
    throw shows && queryText.includes('@') ? tail() : error
  }
}

function readParts(parts: RegExpExecArray, earlierTls: boolean): SourceUrl {
  const [, userText = '', passwordText, hostText = '', databaseText = '', queryText = ''] = parts
  const query = readQuery(queryText)
  const isTail = query.has('password')
  const take = (name: string): string | undefined => {
    const value = query.get(name)
    query.delete(name)
    return value
  }
  const notes: string[] = []
  const user = take('user') ?? decode('user', userText)
  if (user === '') throw settings('it names no user')
  const password = take('password') ?? decode('password', passwordText ?? '')
  const database = take('dbname') ?? (decode('database', databaseText) || user)
  const hosts = readHosts(take('host') ?? decode('host', hostText), take('port'))
  const root = take('sslrootcert')
  const { said, wanted, earlier } = readSslMode(
    take('sslmode'),
    take('ssl'),
    root,
    hosts.every(isLoopback),
    earlierTls,
    notes,
  )
  const channelBinding = readBinding(take('channel_binding'))
  const direct = readNegotiation(take('sslnegotiation'), wanted, notes)
  const sslmode = bindChannel(channelBinding, wanted, notes)
  const source: SourceUrl = {
    hosts,
    user,
    password,
    database,
    sslmode,
    saidMode: said,
    systemRoots: root === 'system',
    earlier: sslmode === 'prefer' ? earlier : null,
    direct,
    channelBinding,
    applicationName: take('application_name') ?? 'rockpool',
    connectSeconds: readSeconds(take('connect_timeout')),
    options: take('options') ?? '',
    notes,
  }
  if (/^(true|1|yes|on)$/i.test(take('pgbouncer') ?? '')) throw pooler('pgbouncer=true says so')
  for (const address of hosts) {
    const advice = poolerAdvice(address)
    if (advice !== null) throw pooler(advice)
  }
  checkRest(query, notes, isTail)
  return source
}

/** Returns the URL without its password, for people. */
export function redactUrl(url: string): string {
  return url.replace(/^(\w+:\/\/[^:@/?#]*):.*@/s, '$1:…@').replace(/([?&]password=)[^&]*/gi, '$1…')
}

function pooler(advice: string): RockpoolError {
  return new RockpoolError(
    'ROCKPOOL_SOURCE_SETTINGS',
    `the database URL leads to a connection pooler, and replication does not work through one: ${advice}`,
  )
}

function decode(what: string, text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw settings(`the ${what} has a % that encodes nothing: write %25 for %`)
  }
}

function readQuery(text: string): Map<string, string> {
  const query = new Map<string, string>()
  for (const part of text.split('&')) {
    if (part === '') continue
    const at = part.indexOf('=')
    // The text is not shown, because it may be the end of a password.
    if (at <= 0)
      throw settings(
        `something after the ? is not NAME=VALUE; special characters of the password must be encoded (? as %3F, & as %26)`,
      )
    const name = decode('parameter name', part.slice(0, at))
    query.set(name, decode(`parameter ${name}`, part.slice(at + 1)))
  }
  return query
}

function readHosts(text: string, ports: string | undefined): HostPort[] {
  const portList = ports === undefined ? [] : ports.split(',')
  const hosts = text.split(',').map((part, i): HostPort => {
    if (part.startsWith('/') || part.startsWith('@'))
      throw settings(`${part} is a Unix socket, which cannot be reached: use the address of a host`)
    const found = /^(?:\[([^\]]*)\]|([^[\]:]*))(?::(\d*))?$/.exec(part)
    if (!found)
      throw settings(
        `${JSON.stringify(part)} is not HOST:PORT; an IPv6 address must be in brackets: [2001:db8::1]:5432`,
      )
    const host = found[1] ?? found[2] ?? ''
    if (host === '') throw settings('it names no host')
    const portText = found[3] || portList[portList.length === 1 ? 0 : i] || String(DEFAULT_PORT)
    const port = Number(portText)
    if (!/^\d+$/.test(portText) || port < 1 || port > 65_535) throw settings(`${portText} is not a port`)
    return { host, port }
  })
  return hosts
}

function readSslMode(
  mode: string | undefined,
  ssl: string | undefined,
  root: string | undefined,
  local: boolean,
  earlierTls: boolean,
  notes: string[],
): { said: SslMode | null; wanted: SslMode; earlier: SourceUrl['earlier'] } {
  if (root !== undefined && root !== 'system') {
    notes.push('sslrootcert is a file, and a Worker has no files: set the authority with DATABASE_CA')
  }
  const said = mode ?? sslFlag(ssl)
  if (said === undefined) {
    if (local && root !== 'system') return { said: null, wanted: 'disable', earlier: null }
    if (!earlierTls || root === 'system') return { said: null, wanted: 'verify-full', earlier: null }
    return { said: null, wanted: 'prefer', earlier: { said: null, advice: `the URL has no sslmode. ${INSTEAD}` } }
  }
  switch (said) {
    case 'disable':
    case 'require':
    case 'verify-ca':
    case 'verify-full':
      return { said, wanted: said, earlier: null }
    case 'prefer':
    case 'allow':
      if (!earlierTls) throw settings(`${NO_PROTECTION(said)}, and is not accepted. ${INSTEAD}`)
      return { said: 'prefer', wanted: 'prefer', earlier: { said, advice: `${NO_PROTECTION(said)}. ${INSTEAD}` } }
    case 'no-verify':
      throw settings('sslmode=no-verify is not a mode of Postgres: use require')
    default:
      throw settings(`sslmode=${said} is not known: disable, require, verify-ca or verify-full`)
  }
}

const NO_PROTECTION = (mode: string) => `sslmode=${mode} lets an attacker in between turn TLS off`
const INSTEAD =
  'Write sslmode=verify-full, or sslmode=disable for a network that you trust with everything in the database'

/** Converts `ssl=true`, which other drivers use. */
function sslFlag(ssl: string | undefined): string | undefined {
  if (ssl === undefined) return undefined
  if (/^(true|1|on)$/i.test(ssl)) return 'require'
  return /^(false|0|off)$/i.test(ssl) ? 'disable' : ssl
}

/** Traffic on this machine needs no TLS, and development servers have self-signed certificates. */
export const isLoopback = ({ host }: HostPort) => /^(localhost|127(\.\d+){3}|::1)$/i.test(host)

function readBinding(binding = 'prefer'): ChannelBinding {
  if (binding === 'disable' || binding === 'prefer' || binding === 'require') return binding
  throw settings(`channel_binding=${binding} is not known: disable, prefer or require`)
}

/**
 * Replaces channel binding by `verify-full` where TLS is the runtime's, which does not show the certificate to bind to.
 * A certificate that is verified by name gives the same protection. It never lowers what is verified.
 */
function bindChannel(binding: ChannelBinding, sslmode: SslMode, notes: string[]): SslMode {
  if (binding !== 'require') return sslmode
  if (sslmode === 'disable') throw settings('channel_binding=require needs TLS, which sslmode=disable turns off')
  notes.push(
    'channel_binding=require works only with DATABASE_CA: without it, the certificate and its name are verified instead (sslmode=verify-full)',
  )
  return sslmode === 'verify-ca' ? 'verify-ca' : 'verify-full'
}

/** Direct negotiation needs our own TLS: the runtime's offers no ALPN, without which Postgres refuses it. */
function readNegotiation(negotiation = 'postgres', sslmode: SslMode, notes: string[]): boolean {
  if (negotiation === 'postgres') return false
  if (negotiation !== 'direct') throw settings(`sslnegotiation=${negotiation} is not known: postgres or direct`)
  if (sslmode === 'disable' || sslmode === 'prefer')
    throw settings(`sslnegotiation=direct needs TLS, which sslmode=${sslmode} does not ask for`)
  notes.push(
    'sslnegotiation=direct works only with our own TLS (DATABASE_CA, or a known host): elsewhere TLS is requested first',
  )
  return true
}

function readSeconds(text: string | undefined): number {
  if (text === undefined) return DEFAULT_CONNECT_SECONDS
  const seconds = Number(text)
  if (!/^-?\d+$/.test(text)) throw settings(`connect_timeout=${text} is not a number of seconds`)
  // Zero and negative numbers mean "no limit" in libpq.
  return seconds <= 0 ? MAX_CONNECT_SECONDS : Math.min(seconds, MAX_CONNECT_SECONDS)
}

/** Checks the remaining parameters. With `isTail` an unknown one may be the end of a password that contains an &. */
function checkRest(query: Map<string, string>, notes: string[], isTail: boolean): void {
  for (const [name, value] of query) {
    const reason = IGNORED[name.toLowerCase()]
    if (name === 'target_session_attrs') {
      if (value !== 'any' && value !== 'read-write' && value !== 'primary') {
        throw settings(`target_session_attrs=${value} asks for a replica: replication needs the primary`)
      }
    } else if (name === 'sslcert' || name === 'sslkey' || name === 'sslpassword') {
      throw settings(`${name}: certificates of clients are not supported; use a password`)
    } else if (
      name === 'hostaddr' ||
      name === 'service' ||
      name === 'servicefile' ||
      name === 'require_auth' ||
      name === 'requirepeer'
    ) {
      throw settings(`${name} is not supported: name host, user and password in the URL`)
    } else if (reason !== undefined) notes.push(`${name} is ignored: ${reason}`)
    else if (/^supa$|^workaround$/.test(name)) notes.push(`${name} is ignored: it is for another driver`)
    else if (isTail || !/^\w+$/.test(name))
      throw settings('a parameter after the ? is not known: remove it. In a password, write & as %26')
    else throw settings(`the parameter ${JSON.stringify(name)} is not known: remove it`)
  }
}
