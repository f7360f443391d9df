import type { BucketReason, StreamEntry } from '../../protocol/lines.ts'
import { requestEnvironment, type Environment, type RequestValues } from '../expressions/environment.ts'
import { walk, type Walk } from '../expressions/elements.ts'
import { compileExpression } from '../expressions/evaluate.ts'
import { canonical, isFixed, readsSubscription, some, type Expr } from '../expressions/expression.ts'
import { EvaluationFailure, truth } from '../expressions/values.ts'
import { MAX_BUCKET_NAME_BYTES } from '../limits.ts'
import {
  bucketPrefix,
  definitionOf,
  type Key,
  type PlanContent,
  type Program,
  type Step,
  type Variant,
} from '../plan/plan.ts'
import type { RequestContext, RequestLimits, RequestProgram, Resolution, ResolvedBucket } from '../types.ts'
import { RequestMemo } from './memo.ts'
import { compileKeys, keyOf, longName } from './keys.ts'
import { count, lookupRows, tooMuch, type Progress, type Rows } from './progress.ts'
import { requestValues, subscriptionValues } from './views.ts'

type Run = (environment: Environment, progress: Progress, found: (key: string) => void) => void

export interface CompiledProgram {
  program: Program
  variants: { run: Run; bucket: string; definition: string; priority: number }[]
}

export function compilePrograms(plan: PlanContent): CompiledProgram[] {
  return plan.programs.map((program) => ({
    program,
    variants: program.variants.map((variant) => compileVariant(plan, program, variant)),
  }))
}

function compileVariant(plan: PlanContent, program: Program, variant: Variant): CompiledProgram['variants'][number] {
  const definition = plan.definitions[variant.definition]
  if (!definition) throw new Error('the plan refers to a definition that it does not have')
  const bucket = bucketPrefix(definition)
  const nameOf = requestNames(plan, bucket, variant.parameters)
  let run: Run = (environment, progress, found) => {
    const name = nameOf(environment, progress)
    if (name !== undefined) found(name)
  }
  const depth = { elements: 0, outputs: 0 }
  const steps = variant.steps.map((step) => {
    const at = { ...depth }
    if ('each' in step) depth.elements++
    if ('lookup' in step) depth.outputs++
    return { step, at }
  })
  for (const { step, at } of steps.reverse()) run = compileStep(plan, program, step, at, run)
  return { run, bucket, definition: definitionOf(bucket), priority: variant.priority }
}

/**
 * Returns the name of a bucket, or undefined when there is no key. A NULL of the request makes no key: only results of
 * a lookup may match by NULL. (Plans of older versions differ.) A name that is too long is the request's fault, unless
 * a value came from a lookup: rows that others have written must not end the stream, and no bucket has such a name.
 */
function requestNames(
  plan: PlanContent,
  prefix: string,
  keys: readonly Key[],
): (e: Environment, progress: Progress) => string | undefined {
  const fromLookup = keys.some(({ expr }) => some(expr, (part) => part[0] === 'output'))
  const compiled = compileKeys(
    keys.map(({ expr, nulls }) => ({ expr, nulls: nulls && (expr[0] === 'output' || plan.copyTraps === true) })),
    true,
  )
  return (environment, progress) => {
    const key = keyOf(compiled, environment)
    if (key === undefined) return undefined
    const name = prefix + key
    if (!longName(name)) return name
    if (!fromLookup) throw tooMuch('bytes in the name of a bucket', MAX_BUCKET_NAME_BYTES, null)
    progress.failed(`a value that a lookup found makes the name of a bucket longer than ${MAX_BUCKET_NAME_BYTES} bytes`)
    return undefined
  }
}

function compileStep(
  plan: PlanContent,
  program: Program,
  step: Step,
  at: { elements: number; outputs: number },
  next: Run,
): Run {
  if ('filter' in step) {
    const filter = compileExpression(step.filter, true)
    return (environment, progress, found) => {
      if (truth(filter(environment))) next(environment, progress, found)
    }
  }
  if ('each' in step) {
    const { expr } = step.each
    // In a parameter query, text that is not JSON finds nothing, like JSON that is not an array. A stream reports it.
    const how: Walk = program.failsRequest && step.each.how === 'request-array' ? 'request-list' : step.each.how
    const elements = fixedElements(expr, how)
    return (environment, progress, found) => {
      for (const element of elements(environment)) {
        count(progress)
        environment.elements[at.elements] = element
        next(environment, progress, found)
      }
    }
  }
  const lookup = plan.lookups[step.lookup]
  if (!lookup) throw new Error('the plan refers to a lookup that it does not have')
  const nameOf = requestNames(plan, bucketPrefix(lookup), step.keys)
  return (environment, progress, found) => {
    const name = nameOf(environment, progress)
    if (name === undefined) return
    for (const row of lookupRows(progress, name) ?? []) {
      count(progress)
      environment.outputs[at.outputs] = row
      next(environment, progress, found)
    }
  }
}

/** Returns the elements of an array. They are computed once for an array that no loop changes. */
function fixedElements(expr: Expr, how: Walk): (environment: Environment) => ReturnType<typeof walk> {
  const evaluate = compileExpression(expr, true)
  if (!isFixed(expr)) return (e) => walk(evaluate(e), how)
  const key = `${how} ${canonical(expr)}`
  const own = readsSubscription(expr)
  return (e) => (e.memo ? e.memo.get(key, own, () => walk(evaluate(e), how)) : walk(evaluate(e), how))
}

interface Asked {
  program: CompiledProgram
  parameters: Record<string, unknown> | null
  priority: number | null
  subscription: number | 'default'
}

/** A bucket and its reasons, each once, by the text of the reason. */
interface Reached {
  bucket: DetailedResolution['buckets'][number]
  subscriptions: Set<number | string>
}

/** The result of a resolution, with more details than clients get. */
export interface DetailedResolution extends Resolution {
  buckets: (ResolvedBucket & { program: string })[]
  errors: { definition: string; subscription: number | 'default'; message: string }[]
  /** Set when a bucket definition could not be evaluated, for which the reference would fail the whole request. */
  failure: string | null
  /** The work that it took: loop rounds and evaluations, and lookups that were read. */
  work: { rounds: number; lookups: number }
}

export class RequestRun implements RequestProgram {
  readonly #asked: Asked[]
  readonly #context: RequestContext
  readonly #limits: RequestLimits

  constructor(programs: readonly CompiledProgram[], context: RequestContext, limits: RequestLimits) {
    this.#context = context
    this.#limits = limits
    this.#asked = askedOf(programs, context)
  }

  resolve(rows: Rows): DetailedResolution {
    const buckets = new Map<string, Reached>()
    const streams: StreamEntry[] = []
    const indexes = new Map<string, number>()
    const errors: DetailedResolution['errors'] = []
    let failure: string | null = null
    const memo = new RequestMemo()
    const values = requestValues(this.#context)
    const progress: Progress = {
      rows,
      lookups: new Map(),
      counted: 0,
      asked: 0,
      rounds: 0,
      limits: this.#limits,
      failed: () => {},
    }
    for (const asked of this.#asked) {
      const { program } = asked.program
      let index = indexes.get(program.name)
      if (index === undefined) {
        index = streams.push({ name: program.name, is_default: program.automatic, errors: [] }) - 1
        indexes.set(program.name, index)
      }
      const stream = streams[index]
      // The first failure is reported. It costs only the buckets of its own alternative or query.
      let told = false
      progress.failed = (reason) => {
        if (told) return
        told = true
        const message = `Error evaluating bucket ids: ${reason}`
        if (program.failsRequest) failure ??= message
        errors.push({ definition: program.name, subscription: asked.subscription, message })
        stream?.errors.push({ subscription: asked.subscription, message })
      }
      memo.next()
      // All buckets share one list, which a stream keeps for as long as it runs.
      const reasons: BucketReason[] = [
        asked.subscription === 'default' ? { default: index } : { sub: asked.subscription },
      ]
      for (const bucket of this.#evaluate(asked, values, memo, progress)) {
        merge(
          buckets,
          { ...bucket, reasons, program: program.name },
          asked.subscription === 'default' ? `d${index}` : asked.subscription,
        )
      }
      if (buckets.size > this.#limits.buckets) throw tooMuch('buckets', this.#limits.buckets, 'MAX_BUCKETS')
    }
    const lookups = [...progress.lookups.keys()]
    return {
      lookups,
      need: lookups.filter((bucket) => progress.lookups.get(bucket) === null),
      buckets: Array.from(buckets.values(), ({ bucket }) => bucket),
      streams,
      errors,
      failure,
      work: { rounds: progress.rounds, lookups: progress.asked },
    }
  }

  /**
   * Returns the buckets of one evaluation, those of each alternative once. What an alternative found before it failed
   * does not count.
   */
  #evaluate(
    asked: Asked,
    values: RequestValues,
    memo: RequestMemo,
    progress: Progress,
  ): Omit<ResolvedBucket, 'reasons'>[] {
    const own = asked.parameters === null ? values : subscriptionValues(values, asked.parameters)
    const all: Omit<ResolvedBucket, 'reasons'>[] = []
    for (const variant of asked.program.variants) {
      count(progress)
      const seen = new Set<string>()
      try {
        variant.run(requestEnvironment(own, memo), progress, (bucket) => {
          seen.add(bucket)
          if (seen.size > this.#limits.buckets) throw tooMuch('buckets', this.#limits.buckets, 'MAX_BUCKETS')
        })
      } catch (error) {
        if (!(error instanceof EvaluationFailure) && !(error instanceof RangeError)) throw error
        progress.failed(error.message)
        continue
      }
      for (const bucket of seen)
        all.push({ bucket, definition: variant.definition, priority: asked.priority ?? variant.priority })
    }
    return all
  }
}

/** Merges a bucket that was found in several ways: the most urgent priority, and all reasons. */
function merge(buckets: Map<string, Reached>, bucket: Reached['bucket'], subscription: number | string): void {
  const known = buckets.get(bucket.bucket)
  if (!known) {
    buckets.set(bucket.bucket, { bucket, subscriptions: new Set([subscription]) })
    return
  }
  known.bucket.priority = Math.min(known.bucket.priority, bucket.priority)
  if (known.subscriptions.has(subscription)) return
  known.subscriptions.add(subscription)
  // A copy: the list of a subscription is shared with its other buckets.
  if (known.subscriptions.size === 2) known.bucket.reasons = [...known.bucket.reasons, ...bucket.reasons]
  else known.bucket.reasons.push(...bucket.reasons)
}

/**
 * Lists the evaluations of programs for a request: once per subscription, and by default. Bucket definitions have no
 * subscription parameters, so a subscription that names one means its default evaluation.
 */
function askedOf(programs: readonly CompiledProgram[], context: RequestContext): Asked[] {
  const subscriptions = new Map<string, [number, RequestContext['subscriptions'][number]][]>()
  for (const entry of context.subscriptions.entries()) {
    const same = subscriptions.get(entry[1].stream)
    if (same) same.push(entry)
    else subscriptions.set(entry[1].stream, [entry])
  }
  return programs.flatMap((program): Asked[] => {
    const { name, automatic, alwaysDefault, failsRequest } = program.program
    const subscribed = subscriptions.get(name) ?? []
    const byDefault =
      automatic && (context.includeDefaults || ((alwaysDefault || failsRequest) && subscribed.length > 0))
    const explicit = (failsRequest ? [] : subscribed).map(([subscription, { parameters, priority }]): Asked => ({
      program,
      parameters: parameters ?? {},
      priority,
      subscription,
    }))
    return byDefault ? [...explicit, { program, parameters: null, priority: null, subscription: 'default' }] : explicit
  })
}
