import type { Versioned } from '../versions.ts'
import type { DayUsage } from '../dollars.ts'
import type { RevocationChange } from './replicator.ts'

// The calls of the Directory object and their answers. Records and changes are declared where they are read:
// tenants/stored/record.ts.

/** A tenant in the list of all names. */
export interface NamedTenant {
  name: string
  version: number
  state: string
  hosts: readonly string[]
}

/**
 * `tenants` is null when the list is still the one of that revision. `adopted`: a tenant was stored once, so the
 * settings of the script are none any more.
 */
export interface NamesAnswer {
  revision: number
  tenants: NamedTenant[] | null
  adopted: boolean
}

/**
 * `record`: a `TenantRecord`, and its secrets as they are stored: encrypted, by the names of their settings. `same`:
 * the caller's version is the newest one. `none`: there is no such tenant.
 */
export type RecordAnswer =
  { kind: 'record'; record: string; sealed: Record<string, string> } | { kind: 'same' } | { kind: 'none' }

/**
 * What is being done so that all objects of a tenant know its state. `telling`: the replicator ends sessions and
 * streams. Then, of a tenant that is deleted: `source`: what Rockpool made in the database goes. `buckets`: their
 * storage goes. `late`: calls that were under way come to their end. `again`: whatever they have left goes. `erasing`:
 * the replicator is the last.
 */
export type JobPhase = 'telling' | 'source' | 'buckets' | 'late' | 'again' | 'erasing'

export interface TenantJob {
  /** The state that the tenant comes to. */
  state: string
  phase: JobPhase
  /** Buckets whose storage has gone, and those that are left in this phase; null: not counted yet. */
  removed: number
  left: number | null
  /** ISO 8601: when it began, and when its next step is due. */
  since: string
  next: string
  /** Why the last step failed. It is tried again. */
  error: string | null
}

/**
 * What has come of a revocation. `streams`: how many it has ended. `told`: all objects that must know it do. Else it
 * is kept, and they are told as soon as that can be done; `error`: why it could not.
 */
export interface RevocationOutcome {
  streams: number
  told: boolean
  error: string | null
}

/** RPC of the Directory object, as the directory of tenants in Workers and objects calls it. */
export interface DirectoryRpc {
  /** Returns all tenants that are not deleted, or says that they are still those of `revision`. */
  names(request: Versioned & { revision?: number }): Promise<NamesAnswer>
  /** Returns a tenant. `version`: the version that the caller has. */
  record(request: Versioned & { name: string; version?: number }): Promise<RecordAnswer>
  /** Makes or changes a tenant, and returns its record as JSON. `change`: a `TenantChange` as JSON. */
  put(request: PutRequest): Promise<{ record: string; created: boolean }>
  /**
   * Suspends, resumes or deletes a tenant. Returns the record as JSON, and what is left to be done: null when all
   * objects know the state. `ifMatch`: see `PutRequest`. `keepSource`: what Rockpool made in the database stays, for a
   * database that cannot be reached any more.
   */
  setState(request: SetStateRequest): Promise<{ record: string; job: TenantJob | null }>
  /**
   * A replicator says when it is to be heard of next: `due`, in ms since 1970. Then the cron trigger wakes it. A tenant
   * that is not active is never due. `usage`: what it has used today. The answer says whether the budget of the
   * deployment lets it go on.
   */
  heard(request: Versioned & { name: string; due: number; usage?: DayUsage }): Promise<Allowance>
  /** Returns what all tenants have used today, and the tenants that used most. */
  spent(request: Versioned & { limit: number }): Promise<Spent>
  /** Returns active tenants of whom nothing was heard when they were due, the longest overdue first. */
  overdue(request: Versioned & { limit: number }): Promise<OverdueTenant[]>
  /** A replicator says that nothing is left of its tenant in a former database: see `TenantRecord.former`. */
  left(request: Versioned & { name: string; id: string }): Promise<void>
  /** Returns what is being done to a tenant, or null. */
  job(request: Versioned & { name: string }): Promise<TenantJob | null>
  /**
   * Revokes tokens of a tenant, or takes that back. Stored first, then told to the tenant's objects. Throws
   * ROCKPOOL_TENANT when there is no such tenant, ROCKPOOL_TENANT_CONFLICT when it is being deleted or has too many.
   */
  revoke(
    request: Versioned & Omit<Asker, 'by'> & { name: string; change: RevocationChange },
  ): Promise<RevocationOutcome>
  /** Returns changes of revocations that a tenant's objects have not been told of, and why. */
  untold(request: Versioned & { name: string }): Promise<{ changes: RevocationChange[]; error: string | null }>
  /** Encrypts the secrets of some tenants with the first key. Returns where to go on, or null when all are done. */
  rekey(request: Versioned & Asker & { after: string }): Promise<{ rekeyed: number; next: string | null }>
  /** Returns what was done to tenants, newest first, before the entry `before`. */
  audit(request: Versioned & { before?: number; limit: number }): Promise<AuditEntry[]>
}

/** Until when the replication of a tenant is paused, in ms since 1970; null: it is not. */
export interface Allowance {
  pausedUntil: number | null
}

/** What replicators have counted on a day of UTC, in dollars. `budget`: `BUDGET_DOLLARS_DAY`, or null. */
export interface Spent {
  /** `YYYY-MM-DD`. */
  day: string
  budget: number | null
  dollars: number
  tenants: SpentBy[]
}

export interface SpentBy {
  name: string
  dollars: number
  /** In this hour and the one before. */
  lately: number
  /** Its replication is paused, because of the budget. */
  paused: boolean
}

export interface OverdueTenant {
  name: string
  /** Ms since 1970. */
  due: number
}

/** An operator who asks for a change, as the audit names them. */
export interface Asker {
  /** `sub` of the token. */
  by: string
  /** What vouched for that: see `Operator`. An earlier version does not say it. */
  key?: string | undefined
  /** The address from which the request came, where the platform says it. */
  from?: string | undefined
}

export interface SetStateRequest extends Versioned, Asker {
  name: string
  state: string
  ifMatch: number | null
  keepSource?: boolean
}

export interface PutRequest extends Versioned, Asker {
  name: string
  change: string
  /** Change only this version. `absent`: make a tenant, and change none. Null: whichever it is. */
  ifMatch: number | 'absent' | null
  /** Give a name again that was deleted not long ago. */
  reuse: boolean
  /** What tokens the tenant accepts after the change, as JSON: `TokenIdentity[]`. */
  identities: string
}

export interface AuditEntry extends Asker {
  number: number
  /** ISO 8601. */
  at: string
  action: string
  tenant: string
  /** What was done, where the action alone does not say it. */
  details?: string | undefined
}
