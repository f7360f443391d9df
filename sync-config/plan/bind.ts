import type { Plan } from '../types.ts'
import type { TableName } from '../../protocol/tables.ts'
import { contentHash } from './hash.ts'
import { bucketPrefix, contentOf, type Named, type TablePattern, type Variant } from './plan.ts'

/** A part of a plan, named by a hash of its content. An event puts nothing into buckets, but it has tables as well. */
export interface PlanPart {
  kind: 'data' | 'lookup' | 'event'
  hash: string
  name: string
  /** The names of the streams and definitions of the sync config that use it. */
  usedBy: string[]
  /** The prefix of its buckets' names; '' for an event. */
  bucket: string
  /** Its tables. `name` may end with the wildcard `%`. */
  tables: TableName[]
}

export function partsOf(plan: Plan): PlanPart[] {
  const { definitions, lookups, events, values, programs } = contentOf(plan)
  const usedBy = (uses: (variant: Variant) => boolean) =>
    programs.filter(({ variants }) => variants.some(uses)).map(({ name }) => name)
  return [
    ...definitions.map((each, i): PlanPart => {
      return {
        kind: 'data',
        ...named(each),
        usedBy: usedBy(({ definition }) => definition === i),
        tables: tablesOf(each.queries),
      }
    }),
    ...lookups.map((each, i): PlanPart => {
      const users = usedBy(({ steps }) => steps.some((step) => 'lookup' in step && step.lookup === i))
      return { kind: 'lookup', ...named(each), usedBy: users, tables: tablesOf([each]) }
    }),
    ...events.map((event): PlanPart => {
      const queries = event.queries.map(({ table, columns }) => ({ table, columns }))
      const hash = contentHash([values, event.name, queries])
      return {
        kind: 'event',
        hash,
        name: event.name,
        usedBy: [event.name],
        bucket: '',
        tables: tablesOf(event.queries),
      }
    }),
  ]
}

const named = (each: Named) => ({ hash: each.hash, name: each.name, bucket: bucketPrefix(each) })

/** Returns true when `name`, which may have the wildcard, matches the table. */
export function matchesTable(name: TableName, table: TableName): boolean {
  if (name.schema !== table.schema) return false
  return name.name.endsWith('%') ? table.name.startsWith(name.name.slice(0, -1)) : name.name === table.name
}

const tablesOf = (queries: readonly { table: TablePattern }[]): TableName[] =>
  queries.map(({ table }) => ({ schema: table.schema, name: table.wildcard ? `${table.name}%` : table.name }))

/**
 * Returns the plan with the names of its buckets written into it. A definition that exists under another name keeps its
 * buckets' names; one that returns after its buckets were dropped gets new ones. `prefix` returns the prefix of the
 * names, and `seed` is that of the storage.
 */
export function bindPlan(plan: Plan, seed: string, prefix: (named: Named) => string): Plan {
  const { definitions, lookups } = contentOf(plan)
  const bind = <T extends Named>(named: T): T => ({ ...named, bucket: prefix(named) })
  return { ...plan, seed, definitions: definitions.map(bind), lookups: lookups.map(bind) }
}
