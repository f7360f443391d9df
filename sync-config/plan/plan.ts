import type { ValueOptions } from '../../protocol/values.ts'
import type { Expr } from '../expressions/expression.ts'
import type { Walk } from '../expressions/elements.ts'
import type { Plan } from '../types.ts'

/** The version of the JSON form. It is raised by a change that older code would misread. */
export const PLAN_VERSION = 1

/** Source tables: the one called `name`, or with `wildcard` all whose names begin with it. */
export interface TablePattern {
  connection: string
  schema: string
  name: string
  wildcard: boolean
}

/**
 * A part of a key. With `nulls`, NULL is a value like others; otherwise it makes no key. On the request side it applies
 * only to results of lookups, even when a plan of an older version sets it elsewhere.
 */
export interface Key {
  expr: Expr
  nulls: boolean
}

export interface Walked {
  expr: Expr
  how: Walk
}

/** One way for a row into buckets: one key for every combination of elements that passes the filter. */
export interface Branch {
  each: Walked[]
  filter: Expr | null
  keys: Key[]
}

/**
 * An output column, or with `all` every column of the row; `hidden` includes those whose name begins with `_`, and
 * `fill` only sets names that are not set yet.
 */
export type Column = { all: { hidden: boolean; fill: boolean } } | { name: string; expr: Expr }

export interface DataQuery {
  /** Names the place in messages of errors. */
  label: string
  table: TablePattern
  /** The table on the client, or null for the source table's own name. */
  output: string | null
  columns: Column[]
  branches: Branch[]
}

/**
 * What the names of a definition's or lookup's buckets are made from. The hash covers the content with the options, but
 * not the name.
 */
export interface Named {
  hash: string
  name: string
  /** The prefix of its buckets' names, `hash#name` when absent. See `bindPlan`. */
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

/** Steps are nested loops: `each` and `lookup` continue with every element or row that they find. */
export type Step = { filter: Expr } | { each: Walked } | { lookup: number; keys: Key[] }

/** One way from a stream to buckets of one definition. */
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
  /** True when an evaluation error fails the whole request (bucket definitions), not only the stream. */
  failsRequest: boolean
  /** True when the defaults are evaluated for every subscription, even without `include_defaults` (edition 2). */
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
  /**
   * Set in plans that are compared with the reference, which gives clients buckets of NULL. Such a plan is never
   * deployed.
   */
  copyTraps?: true
  edition: number
  values: ValueOptions
  definitions: Definition[]
  lookups: Lookup[]
  programs: Program[]
  events: { name: string; queries: EventQuery[] }[]
}

/** Returns the prefix of its buckets' names. */
export const bucketPrefix = ({ hash, name, bucket }: Named): string => bucket ?? `${hash}#${name}`

/** Returns the definition of a bucket: everything before the `#` of its name. */
export const definitionOf = (bucket: string): string => bucket.slice(0, bucket.indexOf('#'))

/** Returns the content of a plan that `compile` made or `parsePlan` accepted. Throws Error for another version. */
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
