import { resolve } from 'node:path'
import { parseArgs, type ParseArgsConfig } from 'node:util'
import { closest } from '../protocol/closest.ts'
import { TENANT_NAME } from '../protocol/names.ts'
import { ownAudience } from '../tenants/stored/names.ts'
import { OPTIONS, optionsOf, type CommandName, type OptionName } from './commands.ts'
import { UsageError } from './problem.ts'
import { textOf, type Settings } from './settings.ts'

/** The audience of tokens for `rockpool dev`, as wrangler.toml has it. */
export const DEFAULT_AUDIENCE = 'rockpool'
export const DEFAULT_PORT = 8787
export const DEFAULT_DATA = '.rockpool/data'

/** Returns the path of the data folder, as `--data`, DATA or nothing says. */
export const dataFolder = (given: string | undefined): string => resolve(given ?? (process.env.DATA || DEFAULT_DATA))

export interface DevOptions {
  port: number
  /** When absent, the embedded Postgres is used. */
  databaseUrl: string | undefined
  /** A file. When absent, the one that is deployed with the script is used. */
  syncConfig: string | undefined
  /** base64url. When absent, a secret is made and kept in the data folder. */
  jwtSecret: string | undefined
  jwtAudience: string
  data: string
  /** With another database it must be requested, because the example makes tables there. */
  example: boolean
}

/**
 * Reads the options of `rockpool dev`. Each has an environment variable of the same name (`--database-url`,
 * `DATABASE_URL`). `given` is the result of `readSettings`, or only the environment. Throws UsageError.
 */
export function devOptions(args: readonly string[], given: Settings): DevOptions {
  const { positionals, text, flag: isGiven } = parse('dev', args)
  if (positionals.length > 0)
    throw new UsageError(`dev takes no argument, but got ${positionals[0]}; see rockpool help dev`)
  const value = (name: OptionName): string | undefined => (text(name) ?? settingOf(given, name)) || undefined
  const flag = (name: OptionName): boolean => isGiven(name) || /^(1|true|yes)$/i.test(settingOf(given, name) ?? '')
  const databaseUrl = value('database-url')
  if (databaseUrl !== undefined && !/^postgres(ql)?:\/\//.test(databaseUrl))
    throw new UsageError('--database-url must begin with postgres://')
  const syncConfig = value('sync-config')
  if (syncConfig?.includes('\n'))
    throw new UsageError('SYNC_CONFIG contains YAML: rockpool dev takes a file, --sync-config FILE')
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

function settingOf(given: Settings, name: OptionName): string | undefined {
  const declared = OPTIONS[name]
  return 'env' in declared ? textOf(given, declared.env) : undefined
}

export interface TokenOptions {
  sub: string
  ttlSeconds: number
  claims: Record<string, unknown>
}

/**
 * Reads the options of `rockpool token`. The audience of the settings is that of their own tenant; a named tenant has
 * the one that it gets when nothing else is said. The rest is for `devOptions`. Throws UsageError.
 */
export function tokenOptions(args: readonly string[]): {
  token: TokenOptions
  audience: string | undefined
  rest: string[]
} {
  const parsed = parse('token', args)
  const sub = parsed.text('sub')
  if (sub === undefined || sub === '') throw new UsageError('token needs --sub USER')
  const claims: Record<string, unknown> = {}
  for (const claim of parsed.texts('claim')) {
    const at = claim.indexOf('=')
    if (at <= 0) throw new UsageError(`--claim ${claim} is not KEY=VALUE`)
    claims[claim.slice(0, at)] = claimValue(claim.slice(at + 1))
  }
  const token = { sub, ttlSeconds: duration(parsed.text('ttl') ?? '1h'), claims }
  const tenant = tenantOf(parsed)
  const audience = parsed.text('jwt-audience') ?? (tenant && ownAudience(tenant))
  return { token, audience, rest: again(parsed, ['jwt-secret', 'data']) }
}

/** Reads the statement of `rockpool sql`. The rest is for `devOptions`. Throws UsageError. */
export function sqlOptions(args: readonly string[]): {
  statement: string
  tenant: string | undefined
  rest: string[]
} {
  const parsed = parse('sql', args)
  const [statement, ...more] = parsed.positionals
  if (statement === undefined) throw new UsageError('sql needs a statement: rockpool sql "SELECT 1"')
  if (more.length > 0) throw new UsageError('sql takes one argument: put the statement into quotation marks')
  return { statement, tenant: tenantOf(parsed), rest: again(parsed, ['database-url', 'data']) }
}

/** Returns the tenant that `--tenant` or ROCKPOOL_TENANT names. Throws UsageError. */
export function tenantOf({ text }: Parsed, env: Settings = process.env): string | undefined {
  const tenant = text('tenant') ?? textOf(env, 'ROCKPOOL_TENANT')
  if (tenant === undefined || TENANT_NAME.test(tenant)) return tenant
  throw new UsageError(`--tenant ${tenant} is not the name of a tenant: it has 1 to 63 of a to z, 0 to 9 and -`)
}

const again = ({ text }: Parsed, names: readonly OptionName[]): string[] =>
  names.flatMap((name) => {
    const value = text(name)
    return value === undefined ? [] : [`--${name}`, value]
  })

/** Returns the value of JSON (`--claim admin=true`), else the string itself. */
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
  if (seconds > 86_400) throw new UsageError('--ttl may be at most 1d: a token that lives longer is refused')
  return seconds
}

function portOf(text: string): number {
  const port = Number(text)
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535) throw new UsageError(`--port ${text} is not a port: 1 to 65535`)
  return port
}

/** HS256 needs a key as long as its hash. */
function checkSecret(secret: string): void {
  if (!/^[A-Za-z0-9_-]+={0,2}$/.test(secret)) throw new UsageError('--jwt-secret must be base64url')
  const bytes = Buffer.from(secret, 'base64url').length
  if (bytes < 32) throw new UsageError(`--jwt-secret has ${bytes} bytes; HS256 needs at least 32`)
}

export interface Parsed {
  positionals: string[]
  /** Returns undefined when the option was not given. */
  text(name: OptionName): string | undefined
  texts(name: OptionName): string[]
  flag(name: OptionName): boolean
}

/**
 * Parses the options of a command, as `commands.ts` declares them. Throws UsageError, which suggests the option that
 * may have been meant.
 */
export function parse(command: CommandName, args: readonly string[]): Parsed {
  const options: NonNullable<ParseArgsConfig['options']> = {}
  for (const { name, declaration } of optionsOf(command)) {
    const { type, multiple = false, short } = declaration
    options[name] = short === undefined ? { type, multiple } : { type, multiple, short }
  }
  const { values, positionals } = parsed(command, args, options)
  const texts = (name: OptionName): string[] => [values[name] ?? []].flat().filter((value) => typeof value === 'string')
  return { positionals, texts, text: (name) => texts(name).at(-1), flag: (name) => values[name] === true }
}

function parsed(command: CommandName, args: readonly string[], options: NonNullable<ParseArgsConfig['options']>) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true })
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const unknown = /^Unknown option '(-[^']*)'/.exec(message)?.[1]
    if (unknown === undefined) throw new UsageError(message)
    const meant = closest(unknown.replace(/^-+/, ''), Object.keys(options))
    const next = meant === null ? `; see rockpool help ${command}` : `: did you mean --${meant}?`
    throw new UsageError(`there is no option ${unknown}${next}`)
  }
}
