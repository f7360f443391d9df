import type { Versioned } from '../versions.ts'

// Sync configs as operators deploy them.

/** `script`: the one that the script carries. `rollback`: the one that served before. */
export type ConfigOrigin = 'script' | 'admin' | 'rollback'

/** A sync config that was deployed. Times as ISO 8601. */
export interface ConfigStatus {
  /** From 1, in the order in which they were deployed. */
  number: number
  origin: ConfigOrigin
  /**
   * `copying`: it is to serve, and what its new definitions need is being copied. `serving`: clients have it. `previous`: it served, and is still maintained,
   * so that it can serve again at once. `failed`: see `error`. `superseded`: given up, or out of use for longer than RETIRE_GRACE_SECONDS.
   */
  state: 'copying' | 'serving' | 'previous' | 'failed' | 'superseded'
  /** Hash of its plan, null when it has none. */
  plan: string | null
  created: string
  /** Since when it serves or served, and when it ceased to; null: never. */
  served: string | null
  retired: string | null
  error: { code: string; message: string } | null
  /** Tables that its new definitions read, with the rows that they were thought to have. */
  copy: TableEstimate[]
  /** Who asked for it, as `sub` of the token says. Missing: the script, or a record of an earlier version. */
  by?: string
  /** Of a rollback, the number of the deploy that it goes back to. Missing: a record of an earlier version. */
  of?: number
  /** It must never serve again. */
  withdrawn?: { at: string; by: string }
}

export interface TableEstimate {
  /** `schema.name` */
  table: string
  rows: number
}

/** Of a deploy. */
export interface DeployStatus {
  serving: ConfigStatus | null
  next: ConfigStatus | null
  /** The newest one, if it could not be deployed. */
  failed: ConfigStatus | null
  /** How much of what `next` needs is copied, 0 to 1; null without one. */
  progress: number | null
  /** Definitions out of use whose buckets are being deleted. */
  dropping: number
}

/** A definition, lookup or event, as the sync config calls it. */
export interface PartStatus {
  kind: 'data' | 'lookup' | 'event'
  name: string
}

/** What a deploy changes. */
export interface DeployDifference {
  plan: string
  /**
   * `kept`: clients keep what they have. `again`: they served before, and are maintained still, so nothing of theirs is copied, and clients get them at once.
   * Missing: there are none, or a version answers that counts them among `kept`.
   */
  definitions: { kept: PartStatus[]; again?: PartStatus[]; added: PartStatus[]; removed: PartStatus[] }
  copy: TableEstimate[]
  /** Tables that cannot be followed. */
  refused: { table: string; reason: string }[]
  /** Streams of clients that are open. */
  streams: number
  /** `error`: by the tables of the database, and the deploy goes on only by force. An earlier version does not say. */
  warnings: { level?: 'error' | 'warning'; code: string; message: string; place: { line: number; column: number } }[]
}

export interface DeployRequest extends Versioned {
  yaml: string
  /** Only what it would change. */
  dryRun: boolean
  /** Also when tables of new definitions cannot be followed, or have no id. */
  force: boolean
  /** Only when this is the hash of the serving plan. */
  ifMatch: string | null
  /** Of the operator's token, `sub`. */
  by?: string
}

/** `config`: null for a dry run. */
export interface DeployAnswer {
  config: ConfigStatus | null
  difference: DeployDifference
}

/** `cancelled`: there was a deploy under way, and it was given up instead. */
export interface RollbackAnswer {
  config: ConfigStatus | null
  cancelled: ConfigStatus | null
  difference: DeployDifference | null
  /** The number of the deploy that it goes back to. An earlier version does not say. */
  to?: number | null
}

/** `yaml`: text of the serving one, '' when it is not known. */
export interface ConfigsAnswer extends DeployStatus {
  yaml: string
  /** Newest first. */
  history: ConfigStatus[]
  tables: TableCopyStatus[]
  waitingFor: string | null
}

export interface TableCopyStatus {
  table: string
  /** `removing`: it is not followed any more, its rows are taken out of the buckets. */
  state: 'waiting' | 'copying' | 'done' | 'removing'
  /** Blocks read of blocks at the start. */
  block: number
  blocks: number
  rows: number
  /** 0 to 1, over all its partitions. */
  progress: number
}
