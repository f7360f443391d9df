import { compileConfig } from './compile.ts'
import { ReadyPlan } from './evaluate/plan.ts'
import type { CompileLimits, CompileResult, LoadedPlan, Plan, RequestLimits } from './types.ts'

export { EvaluationFailure } from './expressions/values.ts'
export type * from './types.ts'
export { parsePlan, planHash } from './plan/hash.ts'
export { bindPlan, matchesTable, partsOf, type PlanPart } from './plan/bind.ts'
export { joinColumns, namedColumns } from './evaluate/columns.ts'
export { combinePlans } from './evaluate/combine.ts'
export { bucketPrefix, definitionOf } from './plan/plan.ts'

/**
 * Compiles a sync config. All errors of the file at once, each with a stable code and its place; warnings too.
 *
 * @example
 * const result = compile(yaml)
 * if (result.ok) loadPlan(result.plan).evaluateRow({ schema: 'public', name: 'lists' }, row)
 */
export function compile(yaml: string, limits: Partial<CompileLimits> = {}): CompileResult {
  const result = compileConfig(yaml, { limits })
  return result.ok
    ? { ok: true, plan: result.plan, warnings: result.warnings }
    : { ok: false, errors: result.errors, warnings: result.warnings }
}

/** Makes a plan ready for rows and requests. Throws Error for a plan of another schema version. */
export function loadPlan(plan: Plan, limits: Partial<RequestLimits> = {}): LoadedPlan {
  return new ReadyPlan(plan, limits)
}
