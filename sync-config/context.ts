import type { Definition, Lookup } from './plan/plan.ts'
import type { Findings } from './parse/findings.ts'
import type { SchemaCheck } from './schema.ts'
import type { CompileLimits } from './types.ts'

/** State that all queries of one file share while it is compiled. */
export interface Context {
  findings: Findings
  edition: 1 | 2 | 3
  fixedJson: boolean
  /** Behave as the reference even where it is wrong; only for comparing with it. */
  copyTraps: boolean
  /** The schema of unqualified tables. */
  defaultSchema: string
  limits: CompileLimits
  /** Tables and columns of the source, when known. */
  schema: SchemaCheck | null
  /** Returns the index of the definition with this content, which is added if it is new. */
  definition(content: Omit<Definition, 'hash'>): number
  lookup(content: Omit<Lookup, 'hash'>): number
}

export const tooManyDisjuncts = (most: number): string =>
  `The ORs of this condition multiply out to more than ${most} alternatives: split the query, or raise MAX_DISJUNCTS.`
