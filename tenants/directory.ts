import type { TokenSettings } from './tokens.ts'
import type { Tenant } from './tenant.ts'

/** The secrets of a tenant. */
export interface TenantSecrets {
  /** The URL of the database, with its password. */
  'source.url': string
  /** Keys of tokens, with what else says how tokens are verified. They are validated where tokens are. */
  'token.keys': TokenSettings
}

/** THE PORT: where tenants come from. Every call may be slow. Callers keep a tenant for a session, a request or a stream. */
export interface TenantDirectory {
  /** Throws ROCKPOOL_SETTINGS when there is no tenant of this name. */
  find(name: string): Promise<Tenant>
  /** All of them, for the cron trigger. */
  names(): AsyncIterable<string>
  /** The name of the tenant that a request is for, by its address. Throws ROCKPOOL_SETTINGS when it is for none. */
  nameFor(request: Request): Promise<string>
  /**
   * Called by the code that connects or verifies, at that moment. The result is never stored, logged, put into an error or sent.
   * Throws ROCKPOOL_SETTINGS when it is missing or wrong.
   */
  secret<Field extends keyof TenantSecrets>(name: string, field: Field): Promise<TenantSecrets[Field]>
}
