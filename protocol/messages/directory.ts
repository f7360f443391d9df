import type { Versioned } from '../versions.ts'

// The calls of the Directory object and their answers. Records and changes are declared where they are read: tenants/stored/record.ts.

/** A tenant in the list of all names. */
export interface NamedTenant {
  name: string
  version: number
  state: string
  hosts: readonly string[]
}

/** `tenants` is null when the list is still the one of that revision. */
export interface NamesAnswer {
  revision: number
  tenants: NamedTenant[] | null
}

/**
 * `record`: a `TenantRecord`, and its secrets as they are stored: encrypted, by the names of their settings. `same`: the caller's version is the newest one.
 * `none`: there is no such tenant.
 */
export type RecordAnswer = { kind: 'record'; record: string; sealed: Record<string, string> } | { kind: 'same' } | { kind: 'none' }

/** RPC of the Directory object, as the directory of tenants in Workers and objects calls it. */
export interface DirectoryRpc {
  /** Returns all tenants that are not deleted, or says that they are still those of `revision`. */
  names(request: Versioned & { revision?: number }): Promise<NamesAnswer>
  /** Returns a tenant. `version`: the version that the caller has. */
  record(request: Versioned & { name: string; version?: number }): Promise<RecordAnswer>
  /** Makes or changes a tenant, and returns its record as JSON. `change`: a `TenantChange` as JSON. */
  put(request: PutRequest): Promise<{ record: string; created: boolean }>
  /** Returns the record as JSON. `ifMatch`: see `PutRequest`. */
  setState(request: Versioned & { name: string; state: string; ifMatch: number | null; by: string }): Promise<{ record: string }>
  /** Ends the deletion of a tenant whose objects are gone: its record is erased, and a tombstone keeps its name. */
  bury(request: Versioned & { name: string; by: string }): Promise<void>
  /** Encrypts the secrets of some tenants with the first key. Returns where to go on, or null when all are done. */
  rekey(request: Versioned & { after: string; by: string }): Promise<{ rekeyed: number; next: string | null }>
  /** Returns what was done to tenants, newest first, before the entry `before`. */
  audit(request: Versioned & { before?: number; limit: number }): Promise<AuditEntry[]>
}

export interface PutRequest extends Versioned {
  name: string
  change: string
  /** Change only this version. `absent`: make a tenant, and change none. Null: whichever it is. */
  ifMatch: number | 'absent' | null
  /** Give a name again that was deleted not long ago. */
  reuse: boolean
  /** What tokens the tenant accepts after the change, as JSON: `TokenIdentity[]`. */
  identities: string
  /** Who asks: `sub` of the token. */
  by: string
}

export interface AuditEntry {
  number: number
  /** ISO 8601. */
  at: string
  by: string
  action: string
  tenant: string
}
