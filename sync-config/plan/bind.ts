import type { Plan } from '../types.ts'
import type { TableName } from '../../protocol/tables.ts'
import { contentHash } from './hash.ts'
import { bucketPrefix, contentOf, type Named, type TablePattern, type Variant } from './plan.ts'

/** What a plan is made of, each named by a hash of its content. An event puts nothing into buckets, but what rows there are counts for it too. */
export interface PlanPart {
  kind: 'data' | 'lookup' | 'event'
  hash: string
  name: string
  /** Streams and definitions of the sync config that use it, as it calls them. */
  usedBy: string[]
  /** What names of its buckets begin with; '' for an event. */
  bucket: string
  /** `name` may end in the wildcard `%`. */
  tables: TableName[]
}

export function partsOf(plan: Plan): PlanPart[] {
  const { definitions, lookups, events, values, programs } = contentOf(plan)
  const usedBy = (uses: (variant: Variant) => boolean) => programs.filter(({ variants }) => variants.some(uses)).map(({ name }) => name)
  return [
    ...definitions.map((each, i): PlanPart => {
      return { kind: 'data', ...named(each), usedBy: usedBy(({ definition }) => definition === i), tables: tablesOf(each.queries) }
    }),
    ...lookups.map((each, i): PlanPart => {
      const users = usedBy(({ steps }) => steps.some((step) => 'lookup' in step && step.lookup === i))
      return { kind: 'lookup', ...named(each), usedBy: users, tables: tablesOf([each]) }
    }),
    ...events.map((event): PlanPart => {
      const queries = event.queries.map(({ table, columns }) => ({ table, columns }))
      const hash = contentHash([values, event.name, queries])
      return { kind: 'event', hash, name: event.name, usedBy: [event.name], bucket: '', tables: tablesOf(event.queries) }
    }),
  ]
}

const named = (each: Named) => ({ hash: each.hash, name: each.name, bucket: bucketPrefix(each) })

/** Whether `name`, perhaps with the wildcard, means the table. */
export function means(name: TableName, table: TableName): boolean {
  if (name.schema !== table.schema) return false
  return name.name.endsWith('%') ? table.name.startsWith(name.name.slice(0, -1)) : name.name === table.name
}

const tablesOf = (queries: readonly { table: TablePattern }[]): TableName[] =>
  queries.map(({ table }) => ({ schema: table.schema, name: table.wildcard ? `${table.name}%` : table.name }))

/**
 * The plan with the names of its buckets written into it: the same for a definition that is there already under another name, others for one that
 * comes back when its buckets are gone. `prefix` answers what they begin with, `seed` is that of the storage.
 */
export function bindPlan(plan: Plan, seed: string, prefix: (named: Named) => string): Plan {
  const { definitions, lookups } = contentOf(plan)
  const bind = <T extends Named>(named: T): T => ({ ...named, bucket: prefix(named) })
  return { ...plan, seed, definitions: definitions.map(bind), lookups: lookups.map(bind) }
}
