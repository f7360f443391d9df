import type { ValueOptions } from '../../protocol/values.ts'
import type { Expr } from '../expressions/expression.ts'
import type { Walk } from '../expressions/elements.ts'
import type { Plan } from '../types.ts'

/** Version of the JSON form. A change that older code would misread makes it higher. */
export const PLAN_VERSION = 1

/** Source tables: names that begin with `name` when `wildcard`. */
export interface TablePattern {
  connection: string
  schema: string
  name: string
  wildcard: boolean
}

/**
 * Part of a key. `nulls`: NULL is a value like others, otherwise it makes no key. On the side of the request that holds only for what a lookup
 * found, whatever a plan of an older version says.
 */
export interface Key {
  expr: Expr
  nulls: boolean
}

export interface Walked {
  expr: Expr
  how: Walk
}

/** One way in which a row gets into buckets: for every combination of elements that passes the filter, one key. */
export interface Branch {
  each: Walked[]
  filter: Expr | null
  keys: Key[]
}

/** `all`: the row's columns; `hidden`: also those whose name begins with `_`; `fill`: only names that are not set yet. */
export type Column = { all: { hidden: boolean; fill: boolean } } | { name: string; expr: Expr }

export interface DataQuery {
  /** Says where an error happened. */
  label: string
  table: TablePattern
  /** Table on the client; null = the source table's own name. */
  output: string | null
  columns: Column[]
  branches: Branch[]
}

/** What names the buckets of a definition or lookup. Its hash is of its content with the options; the name does not count. */
export interface Named {
  hash: string
  name: string
  /** What names of its buckets begin with; absent: `hash#name`. See `bindPlan`. */
  bucket?: string
}

/** A bucket source. */
export interface Definition extends Named {
  queries: DataQuery[]
}

export interface LookupBranch extends Branch {
  outputs: Expr[]
}

export interface Lookup extends Named {
  label: string
  table: TablePattern
  branches: LookupBranch[]
}

/** Steps are nested loops: `each` and `lookup` go on with every element or row that they find. */
export type Step = { filter: Expr } | { each: Walked } | { lookup: number; keys: Key[] }

/** One way of a stream to buckets of one definition. */
export interface Variant {
  definition: number
  steps: Step[]
  parameters: Key[]
  priority: number
}

export interface Program {
  name: string
  /** Evaluated for clients that ask for defaults. */
  automatic: boolean
  /** An evaluation error fails the whole request (bucket definitions), not only the stream. */
  failsRequest: boolean
  /** Default evaluation happens whenever there is a subscription, even without `include_defaults` (edition 2). */
  alwaysDefault: boolean
  variants: Variant[]
}

export interface EventQuery {
  label: string
  table: TablePattern
  columns: Column[]
}

export interface PlanContent {
  version: typeof PLAN_VERSION
  /** Made for comparing with the reference, which gives clients buckets of NULL. Such a plan is never deployed. */
  copyTraps?: true
  edition: number
  values: ValueOptions
  definitions: Definition[]
  lookups: Lookup[]
  programs: Program[]
  events: { name: string; queries: EventQuery[] }[]
}

/** What the names of its buckets begin with. */
export const bucketPrefix = ({ hash, name, bucket }: Named): string => bucket ?? `${hash}#${name}`

/** What a bucket's name says of where it belongs: everything before the `#`. */
export const definitionOf = (bucket: string): string => bucket.slice(0, bucket.indexOf('#'))

/** The content of a plan that `compile` made or `parsePlan` accepted. Throws Error for another version. */
export function contentOf(plan: Plan): PlanContent {
  if (!isContent(plan)) {
    throw new Error(
      `this plan has schema version ${JSON.stringify(plan.version)}; this code reads version ${PLAN_VERSION}. Compile the sync config again.`,
    )
  }
  return plan
}

function isContent(plan: Plan): plan is Plan & PlanContent {
  const lists = [plan['definitions'], plan['lookups'], plan['programs'], plan['events']]
  return plan.version === PLAN_VERSION && lists.every(Array.isArray) && typeof plan['values'] === 'object'
}
