import type { TokenSettings } from './tokens.ts'
import type { CompactionSettings } from './compaction.ts'
import type { Tenant } from './tenant.ts'

/** The secrets of a tenant. */
export interface TenantSecrets {
  /** The URL of the database, with its password. */
  'source.url': string
  /**
   * The keys of tokens, with the other settings that say how tokens are verified. They are validated where tokens are
   * verified.
   */
  'token.keys': TokenSettings
}

/**
 * THE PORT through which tenants are found. Every call may be slow. Callers keep a tenant for a session, a request or a
 * stream.
 */
export interface TenantDirectory {
  /**
   * Throws ROCKPOOL_SETTINGS or ROCKPOOL_TENANT when there is no tenant of this name, or when it is not served.
   * `whatever`: also one that is not served.
   */
  find(name: string, whatever?: 'whatever'): Promise<Tenant>
  /** The names of all tenants, for the cron trigger. */
  names(): AsyncIterable<string>
  /**
   * Returns the name of the tenant that the request's address belongs to. Throws ROCKPOOL_SETTINGS or PSYNC_S2002 when
   * there is none.
   */
  nameFor(request: Request): Promise<string>
  /**
   * Called by the code that connects or verifies, each time it does so. The result is never stored, logged, sent, or
   * put into an error. Throws ROCKPOOL_SETTINGS when the secret is missing or wrong.
   */
  secret<Field extends keyof TenantSecrets>(name: string, field: Field): Promise<TenantSecrets[Field]>
  /**
   * How the buckets of a tenant are compacted. There are many buckets: a directory answers without a call. Throws
   * ROCKPOOL_SETTINGS.
   */
  compaction(name: string): Promise<CompactionSettings>
}
