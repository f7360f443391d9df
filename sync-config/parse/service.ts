import type { Entry, YamlNode, YamlReader } from './document.ts'

/**
 * Keys of the configuration of a PowerSync service (`service.yaml`, `powersync.yaml`) with what replaces them here.
 * `docs/sync-config.md` has the same list. For a key that is listed with and without a second part, the entry with the
 * second part is reported.
 */
export const SERVICE_KEYS: Readonly<Record<string, string>> = {
  'replication.connections': 'the secret DATABASE_URL; one Postgres',
  storage: 'nothing: buckets are stored in Durable Objects',
  port: 'nothing on Cloudflare; --port of rockpool dev',
  sync_rules: 'this file: the text under content, or the file that path names',
  sync_config: 'this file: the text under content, or the file that path names',
  'client_auth.jwks_uri': 'JWKS_URL',
  'client_auth.jwks': 'JWT_KEYS, as JSON; one secret for HS256 may be JWT_SECRET',
  'client_auth.audience': 'JWT_AUDIENCE, which is required',
  'client_auth.supabase': 'SUPABASE_URL',
  'client_auth.supabase_jwt_secret': 'SUPABASE_JWT_SECRET',
  'client_auth.block_local_jwks': 'JWKS_REJECT_IP_RANGES = "local"',
  'client_auth.jwks_reject_ip_ranges': 'JWKS_REJECT_IP_RANGES',
  'client_auth.allow_temporary_tokens': 'rockpool token, with the secret of rockpool dev',
  'api.tokens': 'OPERATOR_KEYS and OPERATOR_AUDIENCE: operators use signed tokens',
  'api.parameters.max_buckets_per_connection': 'MAX_BUCKETS',
  'api.parameters.max_parameter_query_results': 'MAX_LOOKUP_ROWS',
  'api.parameters.max_concurrent_connections': 'nothing for all; MAX_STREAMS_PER_USER for each user',
  telemetry: 'nothing: no telemetry is sent',
  healthcheck: 'nothing: /probes/liveness and /probes/readiness always exist',
  system: 'nothing: wrangler tail shows the log',
  migrations: 'nothing: the script migrates its storage itself',
  dev: 'rockpool dev',
}

const TOP = new Set(Object.keys(SERVICE_KEYS).map((path) => path.split('.')[0]))
/** Keys that identify a service configuration. Its other keys, such as `port`, may appear in any file. */
const IDENTIFYING = ['replication', 'client_auth', 'storage', 'sync_rules', 'sync_config']

export const isService = (entries: readonly Entry[]): boolean => entries.some(({ name }) => IDENTIFYING.includes(name))

/** Returns true for false and for an empty value. */
const isOff = (yaml: YamlReader, value: YamlNode): boolean =>
  value === null || yaml.plain(value) === false || yaml.plain(value) === null

/** Reports that the file is a service configuration, and what replaces each part of it here. */
export function reportService(yaml: YamlReader, entries: readonly Entry[]): void {
  yaml.findings.error(
    'service-config',
    'This is the configuration of a PowerSync service, not a sync config: name the file with the streams or bucket definitions. What this file contains belongs into settings, in wrangler.toml or the environment.',
    [0, 1],
  )
  const tell = (path: string, { key, value }: Entry): void => {
    const known = Object.hasOwn(SERVICE_KEYS, path) ? SERVICE_KEYS[path] : undefined
    if (known !== undefined) {
      const told = isOff(yaml, value)
        ? `'${path}' is off there, so nothing needs to be set here.`
        : `'${path}' corresponds to: ${known}.`
      return yaml.findings.warning('service-config', told, key)
    }
    if (!Object.keys(SERVICE_KEYS).some((other) => other.startsWith(`${path}.`)) || !yaml.isMap(value)) return
    for (const entry of yaml.map(value, `'${path}'`, key) ?? []) tell(`${path}.${entry.name}`, entry)
  }
  for (const entry of entries) if (TOP.has(entry.name)) tell(entry.name, entry)
}
