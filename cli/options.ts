import { parseArgs, type ParseArgsConfig } from 'node:util'
import { closest } from '../protocol/closest.ts'
import { UsageError } from './problem.ts'
import { textOf, type Settings } from './settings.ts'

/** The audience of tokens for `rockpool dev`, as wrangler.toml has it. */
export const DEFAULT_AUDIENCE = 'rockpool'
export const DEFAULT_PORT = 8787
export const DEFAULT_DATA = '.rockpool/data'

export interface DevOptions {
  port: number
  /** Absent: the embedded Postgres. */
  databaseUrl: string | undefined
  /** File; absent: the one that is deployed with the script. */
  syncConfig: string | undefined
  /** base64url; absent: one is made and kept in the data folder. */
  jwtSecret: string | undefined
  jwtAudience: string
  data: string
  /** With a database of somebody's own, only when it is asked for: it makes tables there. */
  example: boolean
}

/**
 * Options of `rockpool dev`; each has an environment variable of the same name (`--database-url`, `DATABASE_URL`). `given`: what `readSettings` gives, or the
 * environment alone. Throws UsageError.
 */
export function devOptions(args: readonly string[], given: Settings): DevOptions {
  const { values, positionals } = parse(args, {
    port: { type: 'string' },
    'database-url': { type: 'string' },
    'sync-config': { type: 'string' },
    'jwt-secret': { type: 'string' },
    'jwt-audience': { type: 'string' },
    data: { type: 'string' },
    example: { type: 'boolean' },
    'no-example': { type: 'boolean' },
  })
  if (positionals.length > 0) throw new UsageError(`dev takes no argument ${positionals[0]}; see rockpool help`)
  const value = (name: keyof typeof values): string | undefined => {
    const option = values[name]
    return (typeof option === 'string' ? option : textOf(given, name.toUpperCase().replaceAll('-', '_'))) || undefined
  }
  const flag = (name: keyof typeof values): boolean => values[name] === true || /^(1|true|yes)$/i.test(value(name) ?? '')
  const databaseUrl = value('database-url')
  if (databaseUrl !== undefined && !/^postgres(ql)?:\/\//.test(databaseUrl))
    throw new UsageError('--database-url must begin with postgres://')
  const syncConfig = value('sync-config')
  if (syncConfig?.includes('\n')) throw new UsageError('SYNC_CONFIG is a text: rockpool dev takes a file, --sync-config FILE')
  const jwtSecret = value('jwt-secret')
  if (jwtSecret !== undefined) checkSecret(jwtSecret)
  return {
    port: portOf(value('port') ?? String(DEFAULT_PORT)),
    databaseUrl,
    syncConfig,
    jwtSecret,
    jwtAudience: value('jwt-audience') ?? DEFAULT_AUDIENCE,
    data: value('data') ?? DEFAULT_DATA,
    example: !flag('no-example') && (databaseUrl === undefined || flag('example')),
  }
}

export interface TokenOptions {
  sub: string
  ttlSeconds: number
  claims: Record<string, unknown>
}

/** Options of `rockpool token`; what is left is for `devOptions`. Throws UsageError. */
export function tokenOptions(args: readonly string[]): { token: TokenOptions; rest: string[] } {
  const { values } = parse(args, {
    sub: { type: 'string' },
    ttl: { type: 'string' },
    claim: { type: 'string', multiple: true },
    'jwt-secret': { type: 'string' },
    'jwt-audience': { type: 'string' },
    data: { type: 'string' },
  })
  if (typeof values.sub !== 'string' || values.sub === '') throw new UsageError('token needs --sub USER')
  const claims: Record<string, unknown> = {}
  for (const claim of Array.isArray(values.claim) ? values.claim : []) {
    const text = String(claim)
    const at = text.indexOf('=')
    if (at <= 0) throw new UsageError(`--claim ${text} is not KEY=VALUE`)
    claims[text.slice(0, at)] = claimValue(text.slice(at + 1))
  }
  const rest = (['jwt-secret', 'jwt-audience', 'data'] as const).flatMap((name) =>
    values[name] === undefined ? [] : [`--${name}`, values[name]],
  )
  return { token: { sub: values.sub, ttlSeconds: duration(typeof values.ttl === 'string' ? values.ttl : '1h'), claims }, rest }
}

/** JSON when it is (`--claim admin=true`), else the text. */
function claimValue(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

const SECONDS: Record<string, number> = { s: 1, m: 60, h: 3_600, d: 86_400 }

function duration(text: string): number {
  const parts = /^(\d+)([smhd])$/.exec(text)
  const seconds = Number(parts?.[1]) * (SECONDS[parts?.[2] ?? ''] ?? Number.NaN)
  if (!(seconds > 0)) throw new UsageError(`--ttl ${text} is not a duration: write 30s, 15m, 1h or 1d`)
  if (seconds > 86_400) throw new UsageError('--ttl may be 1d at most: a token that lives longer is refused')
  return seconds
}

function portOf(text: string): number {
  const port = Number(text)
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535) throw new UsageError(`--port ${text} is not a port: 1 to 65535`)
  return port
}

/** HS256 wants a key as long as its hash. */
function checkSecret(secret: string): void {
  if (!/^[A-Za-z0-9_-]+={0,2}$/.test(secret)) throw new UsageError('--jwt-secret must be base64url')
  const bytes = Buffer.from(secret, 'base64url').length
  if (bytes < 32) throw new UsageError(`--jwt-secret has ${bytes} bytes; HS256 needs at least 32`)
}

/** As `parseArgs`. Throws UsageError, with the option that was meant. */
export function parse<const O extends NonNullable<ParseArgsConfig['options']>>(args: readonly string[], options: O) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true })
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const unknown = /^Unknown option '(-[^']*)'/.exec(message)?.[1]
    if (unknown === undefined) throw new UsageError(message)
    const meant = closest(unknown.replace(/^-+/, ''), Object.keys(options))
    throw new UsageError(`there is no option ${unknown}${meant === null ? '; see rockpool help' : `: did you mean --${meant}?`}`)
  }
}
