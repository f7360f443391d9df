import type { Versioned } from '../versions.ts'

// Sync configs, as operators deploy them.

/** `script`: the one bundled with the script. `rollback`: one that served before. */
export type ConfigOrigin = 'script' | 'admin' | 'rollback'

/** A sync config that was deployed. Times as ISO 8601. */
export interface ConfigStatus {
  /** Counts deploys from 1. */
  number: number
  origin: ConfigOrigin
  /**
   * `copying`: it will serve when the rows of its new definitions are copied. `serving`: clients have it. `previous`:
   * it served, and is still maintained so that it can serve again at once. `failed`: see `error`. `superseded`:
   * cancelled, or out of use for longer than RETIRE_GRACE_SECONDS.
   */
  state: 'copying' | 'serving' | 'previous' | 'failed' | 'superseded'
  /** The hash of its plan, or null when it has none. */
  plan: string | null
  created: string
  /** When it began to serve, and when it stopped; null if it never did. */
  served: string | null
  retired: string | null
  error: { code: string; message: string } | null
  /** The tables that its new definitions read, with an estimate of their rows. */
  copy: TableEstimate[]
  /** Who deployed it: `sub` of the token. Missing when it came with the script, and in records of earlier versions. */
  by?: string
  /** The number of the deploy that a rollback returned to. Missing in records of earlier versions. */
  of?: number
  /** Set when it must never serve again. */
  withdrawn?: { at: string; by: string }
}

export interface TableEstimate {
  /** `schema.name` */
  table: string
  rows: number
}

/** The deploys of a tenant, as `/status` shows them. */
export interface DeployStatus {
  serving: ConfigStatus | null
  next: ConfigStatus | null
  /** The newest deploy, if it failed. */
  failed: ConfigStatus | null
  /** How much of the rows that `next` needs is copied, 0 to 1; null when there is no `next`. */
  progress: number | null
  /** Unused definitions whose buckets are being deleted. */
  dropping: number
}

/** The name that the sync config gives a definition, lookup or event. */
export interface PartStatus {
  kind: 'data' | 'lookup' | 'event'
  name: string
}

/** What a deploy changes. */
export interface DeployDifference {
  plan: string
  /**
   * `kept`: clients keep what they have. `again`: they served before and are still maintained, so nothing is copied and
   * clients get them at once. `again` is missing when there are none, or when the answer is from a version that counts
   * them among `kept`.
   */
  definitions: { kept: PartStatus[]; again?: PartStatus[]; added: PartStatus[]; removed: PartStatus[] }
  copy: TableEstimate[]
  /** Tables that cannot be followed. */
  refused: { table: string; reason: string }[]
  /** The number of open client streams. */
  streams: number
  /**
   * `error`: it follows from the tables of the database, and only `force` deploys anyway. Missing in answers of earlier
   * versions.
   */
  warnings: { level?: 'error' | 'warning'; code: string; message: string; place: { line: number; column: number } }[]
}

export interface DeployRequest extends Versioned {
  yaml: string
  /** Only report what would change. */
  dryRun: boolean
  /** Deploy even when tables of new definitions cannot be followed or have no id. */
  force: boolean
  /** Deploy only when this is the hash of the serving plan. */
  ifMatch: string | null
  /** `sub` of the operator's token. */
  by?: string
}

/** `config` is null for a dry run. */
export interface DeployAnswer {
  config: ConfigStatus | null
  difference: DeployDifference
}

/** `cancelled`: a deploy was in progress, and the rollback cancelled it. */
export interface RollbackAnswer {
  config: ConfigStatus | null
  cancelled: ConfigStatus | null
  difference: DeployDifference | null
  /** The number of the deploy that it returns to. Missing in answers of earlier versions. */
  to?: number | null
}

/** `yaml` is the text of the serving sync config, '' when it is not known. */
export interface ConfigsAnswer extends DeployStatus {
  yaml: string
  /** Newest first. */
  history: ConfigStatus[]
  tables: TableCopyStatus[]
  waitingFor: string | null
}

export interface TableCopyStatus {
  table: string
  /** `removing`: the table is not followed any more, and its rows are being removed from the buckets. */
  state: 'waiting' | 'copying' | 'done' | 'removing'
  /** Blocks read, out of the blocks that there were at the start. */
  block: number
  blocks: number
  rows: number
  /** 0 to 1, over all its partitions. */
  progress: number
}
