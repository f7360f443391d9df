import { text as wholeText } from 'node:stream/consumers'
import { z } from 'zod'
import { jsonOrNull } from '../protocol/json.ts'
import { LIMIT_NAMES, type LimitName, type Threshold } from '../tenants/budget.ts'
import type { TenantChange } from '../tenants/stored/record.ts'
import { OWN_SECRET_NAMES, OWN_SETTINGS } from '../tenants/stored/record.ts'
import { readConfigFile } from './config-file.ts'
import type { Parsed } from './options.ts'
import { UsageError } from './problem.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** A change of a tenant as the admin API takes it; the server validates it. */
export type ChangeBody = Omit<Partial<TenantChange>, 'location' | 'jurisdiction'> & {
  location?: string
  jurisdiction?: string
}

const secretsShape = z.record(z.string(), z.string().nullable())

/**
 * Returns what the options of `create` and `set` say. `isNew`: what stands in the environment under the names of two
 * secrets is taken as well. Throws UsageError, which never has the value of a secret.
 */
export async function tenantChange(
  { text, texts }: Pick<Parsed, 'text' | 'texts'>,
  env: Environment,
  { isNew, input }: { isNew: boolean; input: AsyncIterable<Buffer | string> },
): Promise<ChangeBody> {
  const settings: Record<string, string | null> = {}
  for (const given of texts('setting')) {
    const at = given.indexOf('=')
    const name = at < 0 ? given : given.slice(0, at)
    if (isSecret(name)) throw new UsageError(`${name} is a secret: --secret ${name} takes it from the environment`)
    if (!Object.hasOwn(OWN_SETTINGS, name))
      throw new UsageError(`a tenant has no setting ${name}; it has ${Object.keys(OWN_SETTINGS).join(', ')}`)
    settings[name] = at < 0 ? null : given.slice(at + 1)
  }
  const audience = text('jwt-audience') ?? (isNew ? env.JWT_AUDIENCE || undefined : undefined)
  if (audience !== undefined) settings.JWT_AUDIENCE = audience
  const file = text('sync-config')
  if (file !== undefined) settings.SYNC_CONFIG = await readConfigFile(file)
  const hosts = texts('host')
  const location = text('location')
  const jurisdiction = text('jurisdiction')
  const tenantClaim = text('tenant-claim')
  const limits = Object.fromEntries(texts('limit').map(limitOf))
  return {
    settings,
    secrets: await secretsOf({ text, texts }, env, { isNew, input }),
    ...(hosts.length > 0 && { hosts: hosts.filter((host) => host !== '') }),
    ...(tenantClaim !== undefined && { tenantClaim: tenantClaim === '' ? null : tenantClaim }),
    ...(Object.keys(limits).length > 0 && { limits }),
    ...(location !== undefined && { location }),
    ...(jurisdiction !== undefined && { jurisdiction }),
  }
}

/** `NAME=WARN:REFUSE`, of which one may be missing; `NAME=` takes the limit away. Throws UsageError. */
function limitOf(given: string): [LimitName, Threshold | null] {
  const [said = '', amounts] = given.split('=')
  const name = LIMIT_NAMES.find((each) => each === said)
  const parts = /^((?:\d+(?:\.\d+)?)?)(?::((?:\d+(?:\.\d+)?)?))?$/.exec(amounts ?? 'none')
  if (name === undefined || parts === null)
    throw new UsageError(`--limit ${given}: say NAME=WARN:REFUSE, where NAME is one of ${LIMIT_NAMES.join(', ')}`)
  const [warn, refuse] = [parts[1], parts[2]].map((text) => (text ? Number(text) : null))
  return [name, warn || refuse ? { warn: warn ?? null, refuse: refuse ?? null } : null]
}

async function secretsOf(
  { text, texts }: Pick<Parsed, 'text' | 'texts'>,
  env: Environment,
  { isNew, input }: { isNew: boolean; input: AsyncIterable<Buffer | string> },
): Promise<Record<string, string | null>> {
  const secrets: Record<string, string | null> = {}
  const take = (name: string, value: string | undefined) => {
    if (value !== undefined) secrets[name] = value
  }
  if (isNew) for (const name of ['DATABASE_URL', 'JWT_SECRET']) take(name, env[name] || undefined)
  for (const name of texts('secret')) {
    if (!isSecret(name)) throw new UsageError(`a tenant has no secret ${name}; it has ${OWN_SECRET_NAMES.join(', ')}`)
    if (!env[name]) throw new UsageError(`--secret ${name}: there is no variable ${name} in the environment`)
    take(name, env[name])
  }
  const from = text('secrets')
  if (from !== undefined) {
    if (from !== '-')
      throw new UsageError(
        '--secrets - reads them from standard input; a command line is seen by every user of the machine',
      )
    const given = secretsShape.safeParse(jsonOrNull(await wholeText(input)))
    if (!given.success)
      throw new UsageError(
        '--secrets - : standard input must be one JSON object, {"DATABASE_URL": "…"}; null takes one away',
      )
    Object.assign(secrets, given.data)
  }
  take('DATABASE_URL', text('database-url'))
  take('JWT_SECRET', text('jwt-secret'))
  return secrets
}

const isSecret = (name: string): boolean => OWN_SECRET_NAMES.some((each) => each === name)
