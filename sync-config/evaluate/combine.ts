import { contentText } from '../plan/hash.ts'
import { bucketPrefix, contentOf, type PlanContent } from '../plan/plan.ts'
import type { Plan, RowProgram } from '../types.ts'
import { joinColumns } from './columns.ts'
import { ReadyPlan } from './plan.ts'

/**
 * Combines the row sides of several plans, so that common parts are evaluated once. Plans with different options have
 * no common definitions.
 */
export function combinePlans(plans: readonly Plan[]): RowProgram {
  const groups = new Map<string, { content: PlanContent; members: PlanContent[] }>()
  for (const plan of plans) {
    const content = contentOf(plan)
    const key = contentText(content.values)
    const known = groups.get(key)
    groups.set(key, {
      content: known ? merge(known.content, content) : { ...content, programs: [] },
      members: [...(known?.members ?? []), content],
    })
  }
  const ready = Array.from(groups.values(), ({ content, members }) => new ReadyPlan({ ...content }, {}, members))
  const [only] = ready
  if (ready.length === 1 && only) return only
  return {
    tables: ready.flatMap((each) => each.tables),
    reads: (table) => ready.some((each) => each.reads(table)),
    columns: (table) => joinColumns(ready.map((each) => each.columns(table))),
    evaluateRow(table, row) {
      const results = ready.filter((each) => each.reads(table)).map((each) => each.evaluateRow(table, row))
      const events = results.flatMap((result) => result.events ?? [])
      return {
        rows: results.flatMap((result) => result.rows),
        errors: results.flatMap((result) => result.errors),
        ...(events.length === 0 ? {} : { events }),
      }
    },
  }
}

function merge(a: PlanContent, b: PlanContent): PlanContent {
  return {
    ...a,
    definitions: distinct([...a.definitions, ...b.definitions], bucketPrefix),
    lookups: distinct([...a.lookups, ...b.lookups], bucketPrefix),
    events: distinct([...a.events, ...b.events], (event) =>
      contentText([event.name, event.queries.map(({ label: _, ...query }) => query)]),
    ),
  }
}

function distinct<T>(list: readonly T[], name: (each: T) => string): T[] {
  const found = new Map<string, T>()
  for (const each of list) if (!found.has(name(each))) found.set(name(each), each)
  return [...found.values()]
}
