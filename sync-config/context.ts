import type { Definition, Lookup } from './plan/plan.ts'
import type { Findings } from './text/findings.ts'
import type { SchemaCheck } from './schema.ts'

/** What all queries of one file share while it is compiled. */
export interface Context {
  findings: Findings
  edition: 1 | 2 | 3
  fixedJson: boolean
  /** Traps T4 and T5 as the reference has them; only for comparing with it. */
  copyTraps: boolean
  /** Tables and columns of the source, when known. */
  schema: SchemaCheck | null
  /** Index of the definition with this content, added if it is new. */
  definition(content: Omit<Definition, 'hash'>): number
  lookup(content: Omit<Lookup, 'hash'>): number
}
