import type { TableName } from '../protocol/tables.ts'
import type { BucketReason, StreamEntry } from '../protocol/lines.ts'
import type { SourceRow, SqliteValue } from '../protocol/values.ts'

/** A place in the YAML text, from 1. */
export interface Place {
  line: number
  column: number
}

/** An error or warning of a sync config. `message` says what to do. */
export interface Finding {
  level: 'error' | 'warning'
  /** Stable. */
  code: string
  message: string
  place: Place
  /** Place just behind the offending text, when known. */
  end?: Place
}

/** The compiled sync config. Plain JSON; only `sync-config/` looks inside. */
export interface Plan {
  /** Schema version of this JSON form. */
  version: number
  /** In a plan that is bound to names of buckets: of the storage that these are of. */
  seed?: string
  [part: string]: unknown
}

export type CompileResult =
  { ok: true; plan: Plan; warnings: Finding[] } | { ok: false; errors: Finding[]; warnings: Finding[] }

/**
 * A row in one bucket: of a data bucket, or of a lookup bucket (then `objectType` is the lookup's name, `data` its
 * outputs).
 */
export interface BucketRow {
  bucket: string
  /** The definition or lookup that the bucket belongs to: its hash and, in a bound plan, its generation. */
  definition: string
  objectType: string
  objectId: string
  /** JSON text; for data buckets as clients store it. */
  data: string
}

export interface EvaluationError {
  /** Name of the definition and query, for people. */
  where: string
  message: string
  /** It is so for every row of the table. */
  everyRow?: true
  /** What the names of the buckets begin with that lack it; absent when it is not of one definition alone. */
  definition?: string
}

export interface EvaluatedRow {
  rows: BucketRow[]
  /** Outputs that were skipped because a query could not evaluate them. The rest of the row stands. */
  errors: EvaluationError[]
  /** What the row means for `event_definitions`; absent when nothing. */
  events?: EvaluatedEvent[]
}

/** The columns of one payload for one row, or why it could not be evaluated. */
export interface EvaluatedEvent {
  event: string
  values: [name: string, value: SqliteValue | undefined][]
  errors: string[]
}

/** What the buckets of a client follow from. Claims and parameters are plain JSON. */
export interface RequestContext {
  /** The token's payload; `sub` is the user. */
  claims: Record<string, unknown>
  /** Connection parameters: not trusted. */
  parameters: Record<string, unknown>
  includeDefaults: boolean
  subscriptions: { stream: string; parameters: Record<string, unknown> | null; priority: number | null }[]
}

export interface ResolvedBucket {
  bucket: string
  definition: string
  priority: number
  reasons: BucketReason[]
}

export interface Resolution {
  /** Every lookup bucket that the result depends on. */
  lookups: string[]
  /** Those of them whose rows were not given (undefined). Empty = the result is complete. */
  need: string[]
  /** The data buckets, in definition order; complete only when `need` is empty. */
  buckets: ResolvedBucket[]
  /** `streams` of the checkpoint line. */
  streams: StreamEntry[]
}

export interface RequestProgram {
  /**
   * Pure. `rows(lookupBucket)` answers the data texts of its rows, or undefined when they are not known yet.
   * Throws RockpoolError PSYNC_S2305 when limits are exceeded.
   */
  resolve(rows: (lookupBucket: string) => readonly string[] | undefined): Resolution
}

/** The columns of a table that queries read. */
export interface ReadColumns {
  /** A query selects `*`. */
  all: boolean
  read: ReadonlySet<string>
  /** Those of them that the sync config names for this very table, so that it must have them. */
  named: ReadonlySet<string>
}

/** What source rows become under one plan or several. */
export interface RowProgram {
  /** The source tables it reads; `name` may end in the wildcard `%`. */
  readonly tables: readonly TableName[]
  reads(table: TableName): boolean
  columns(table: TableName): ReadColumns
  evaluateRow(table: TableName, row: SourceRow): EvaluatedRow
}

export interface LoadedPlan extends RowProgram {
  /** Hash of the plan's content: equal plans have equal hashes. */
  readonly hash: string
  /** See `Plan.seed`. */
  readonly seed?: string | undefined
  /** Content hashes of all definitions and lookups. */
  readonly definitions: readonly string[]
  request(context: RequestContext): RequestProgram
}

/** Limits of one stream or definition, settings of the tenant. */
export interface CompileLimits {
  /** Alternatives that the ORs under one AND may multiply out to (default 100). */
  disjuncts: number
  /** Kinds of buckets of one stream (default 100). */
  streamBuckets: number
}

/** Limits of one client, settings of the tenant. */
export interface RequestLimits {
  /** Data buckets of one connection (default 1000). */
  buckets: number
  /** Rows of all lookups together, each once; and how often lookups are asked (default 1000). */
  lookupRows: number
}
