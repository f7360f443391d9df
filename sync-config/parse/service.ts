import type { Entry, YamlNode, YamlReader } from './document.ts'

/**
 * Keys of the configuration of a PowerSync service (`service.yaml`, `powersync.yaml`) with what does the same here. `docs/sync-config.md` has the same
 * list. Under a key that is listed with and without a second part, the second part is told.
 */
export const SERVICE_KEYS: Readonly<Record<string, string>> = {
  'replication.connections': 'the secret DATABASE_URL; one Postgres',
  storage: 'nothing: buckets are kept in Durable Objects',
  port: 'nothing on Cloudflare; --port of rockpool dev',
  sync_rules: 'this file: the text under content, or the file that path names',
  sync_config: 'this file: the text under content, or the file that path names',
  'client_auth.jwks_uri': 'JWKS_URL',
  'client_auth.jwks': 'JWT_KEYS, as JSON; one secret for HS256 may be JWT_SECRET',
  'client_auth.audience': 'JWT_AUDIENCE, which must be given',
  'client_auth.supabase': 'SUPABASE_URL',
  'client_auth.supabase_jwt_secret': 'SUPABASE_JWT_SECRET',
  'client_auth.block_local_jwks': 'JWKS_REJECT_IP_RANGES = "local"',
  'client_auth.jwks_reject_ip_ranges': 'JWKS_REJECT_IP_RANGES',
  'client_auth.allow_temporary_tokens': 'rockpool token, with the secret of rockpool dev',
  'api.tokens': 'OPERATOR_KEYS and OPERATOR_AUDIENCE: operators have tokens that are signed',
  'api.parameters.max_buckets_per_connection': 'MAX_BUCKETS',
  'api.parameters.max_parameter_query_results': 'MAX_LOOKUP_ROWS',
  'api.parameters.max_concurrent_connections': 'nothing for all; MAX_STREAMS_PER_USER for each user',
  telemetry: 'nothing: none is sent',
  healthcheck: 'nothing: /probes/liveness and /probes/readiness are there',
  system: 'nothing: wrangler tail shows the log',
  migrations: 'nothing: storage is migrated by the script itself',
  dev: 'rockpool dev',
}

const TOP = new Set(Object.keys(SERVICE_KEYS).map((path) => path.split('.')[0]))
/** Each alone may stand in any file. */
const TELLING = ['replication', 'client_auth', 'storage', 'sync_rules', 'sync_config']

export const isService = (entries: readonly Entry[]): boolean => entries.some(({ name }) => TELLING.includes(name))

/** False, or nothing at all. */
const isOff = (yaml: YamlReader, value: YamlNode): boolean => value === null || yaml.plain(value) === false || yaml.plain(value) === null

/** Says what the file is, and of each part what does the same here. */
export function tellService(yaml: YamlReader, entries: readonly Entry[]): void {
  yaml.findings.error(
    'service-config',
    'This is the configuration of a PowerSync service, not a sync config: name the file with the streams or bucket definitions. What stands here is said by settings, in wrangler.toml or the environment.',
    [0, 1],
  )
  const tell = (path: string, { key, value }: Entry): void => {
    const known = Object.hasOwn(SERVICE_KEYS, path) ? SERVICE_KEYS[path] : undefined
    if (known !== undefined) {
      const told = isOff(yaml, value) ? `'${path}' is off there, so nothing is to be set here.` : `'${path}' is here: ${known}.`
      return yaml.findings.warning('service-config', told, key)
    }
    if (!Object.keys(SERVICE_KEYS).some((other) => other.startsWith(`${path}.`)) || !yaml.isMap(value)) return
    for (const entry of yaml.map(value, `'${path}'`, key) ?? []) tell(`${path}.${entry.name}`, entry)
  }
  for (const entry of entries) if (TOP.has(entry.name)) tell(entry.name, entry)
}
