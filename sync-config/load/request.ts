import { RockpoolError } from '../../protocol/errors.ts'
import type { BucketReason, StreamEntry } from '../../protocol/lines.ts'
import { requestEnvironment, type Environment } from '../expressions/environment.ts'
import { walk } from '../expressions/elements.ts'
import { compileExpression } from '../expressions/evaluate.ts'
import { parseJson } from '../expressions/json.ts'
import { sqlValue } from '../expressions/paths.ts'
import { EvaluationFailure, truth, type Value } from '../expressions/values.ts'
import type { LimitSetting } from '../limits.ts'
import { bucketPrefix, definitionOf, type Key, type PlanContent, type Program, type Step, type Variant } from '../plan/plan.ts'
import type { RequestContext, RequestLimits, RequestProgram, Resolution, ResolvedBucket } from '../types.ts'
import { compileKeys, keyOf } from './rows.ts'
import { requestValues } from './views.ts'

type Rows = (lookupBucket: string) => readonly string[] | undefined

/** What one resolution has found out so far. */
interface Progress {
  rows: Rows
  lookups: Map<string, readonly (readonly Value[])[] | null>
  /** Distinct rows of all lookups together. */
  counted: number
  /** Lookups of the stream that is evaluated. */
  asked: number
  /** Loop rounds, so that no request can keep us busy for ever. */
  rounds: number
  limits: RequestLimits
}

/** Rounds of nested loops that a resolution may need: far more than the limits of buckets and rows allow to be useful. */
const MAX_ROUNDS = 1_000_000

type Run = (environment: Environment, progress: Progress, found: (key: string) => void) => void

export interface CompiledProgram {
  program: Program
  variants: { run: Run; bucket: string; definition: string; priority: number }[]
}

export function compilePrograms(plan: PlanContent): CompiledProgram[] {
  return plan.programs.map((program) => ({ program, variants: program.variants.map((variant) => compileVariant(plan, variant)) }))
}

function compileVariant(plan: PlanContent, variant: Variant): CompiledProgram['variants'][number] {
  const definition = plan.definitions[variant.definition]
  if (!definition) throw new Error('the plan refers to a definition that it does not have')
  const parameters = requestKeys(plan, variant.parameters)
  let run: Run = (environment, _progress, found) => {
    const key = keyOf(parameters, environment)
    if (key !== undefined) found(key)
  }
  const depth = { elements: 0, outputs: 0 }
  const steps = variant.steps.map((step) => {
    const at = { ...depth }
    if ('each' in step) depth.elements++
    if ('lookup' in step) depth.outputs++
    return { step, at }
  })
  for (const { step, at } of steps.reverse()) run = compileStep(plan, step, at, run)
  const bucket = bucketPrefix(definition)
  return { run, bucket, definition: definitionOf(bucket), priority: variant.priority }
}

/** A NULL of the request makes no key: only what a lookup found may match by NULL. Plans of older versions said otherwise. */
function requestKeys(plan: PlanContent, keys: readonly Key[]): ReturnType<typeof compileKeys> {
  return compileKeys(keys.map(({ expr, nulls }) => ({ expr, nulls: nulls && (expr[0] === 'output' || plan.copyTraps === true) })))
}

function compileStep(plan: PlanContent, step: Step, at: { elements: number; outputs: number }, next: Run): Run {
  if ('filter' in step) {
    const filter = compileExpression(step.filter)
    return (environment, progress, found) => {
      if (truth(filter(environment))) next(environment, progress, found)
    }
  }
  if ('each' in step) {
    const evaluate = compileExpression(step.each.expr)
    return (environment, progress, found) => {
      for (const element of walk(evaluate(environment), step.each.how)) {
        count(progress)
        environment.elements[at.elements] = element
        next(environment, progress, found)
      }
    }
  }
  const lookup = plan.lookups[step.lookup]
  if (!lookup) throw new Error('the plan refers to a lookup that it does not have')
  const keys = requestKeys(plan, step.keys)
  const prefix = bucketPrefix(lookup)
  return (environment, progress, found) => {
    const key = keyOf(keys, environment)
    if (key === undefined) return
    for (const row of lookupRows(progress, prefix + key) ?? []) {
      count(progress)
      environment.outputs[at.outputs] = row
      next(environment, progress, found)
    }
  }
}

function count(progress: Progress): void {
  if (++progress.rounds > MAX_ROUNDS) throw tooMuch('combinations of parameter results', MAX_ROUNDS, null)
}

const tooMuch = (what: string, limit: number, setting: LimitSetting | null): RockpoolError => {
  const remedy = `narrow the sync config${setting === null ? '' : `, or raise ${setting}`}`
  return new RockpoolError('PSYNC_S2305', `this client has more than ${limit} ${what}: ${remedy}`, { details: { limit, setting } })
}

/** Rows of a lookup bucket, distinct and counted once; null when they are not known. */
function lookupRows(progress: Progress, bucket: string): readonly (readonly Value[])[] | null {
  const known = progress.lookups.get(bucket)
  if (known !== undefined) return known
  if (++progress.asked > progress.limits.lookupRows) throw tooMuch('lookups in one stream', progress.limits.lookupRows, 'MAX_LOOKUP_ROWS')
  const texts = progress.rows(bucket)
  let rows: (readonly Value[])[] | null = null
  if (texts) {
    const distinct = new Set(texts)
    progress.counted += distinct.size
    if (progress.counted > progress.limits.lookupRows) throw tooMuch('parameter results', progress.limits.lookupRows, 'MAX_LOOKUP_ROWS')
    rows = Array.from(distinct, outputsOf)
  }
  progress.lookups.set(bucket, rows)
  return rows
}

function outputsOf(text: string): Value[] {
  const row = parseJson(text)
  if (!Array.isArray(row)) throw new Error(`a lookup row is not a JSON array: ${text.slice(0, 60)}`)
  return row.map(sqlValue)
}

interface Asked {
  program: CompiledProgram
  parameters: Record<string, unknown> | null
  priority: number | null
  subscription: number | 'default'
}

/** What a resolution finds in more detail than clients are told. */
export interface DetailedResolution extends Resolution {
  buckets: (ResolvedBucket & { program: string })[]
  errors: { definition: string; subscription: number | 'default'; message: string }[]
  /** The reference would fail the whole request: a bucket definition could not be evaluated. */
  failure: string | null
}

export class RequestRun implements RequestProgram {
  readonly #asked: Asked[]
  readonly #context: RequestContext
  readonly #limits: RequestLimits

  constructor(programs: readonly CompiledProgram[], context: RequestContext, limits: RequestLimits) {
    this.#context = context
    this.#limits = limits
    this.#asked = programs.flatMap((program) => askedOf(program, context))
  }

  resolve(rows: Rows): DetailedResolution {
    const progress: Progress = { rows, lookups: new Map(), counted: 0, asked: 0, rounds: 0, limits: this.#limits }
    const buckets = new Map<string, DetailedResolution['buckets'][number]>()
    const streams: StreamEntry[] = []
    const errors: DetailedResolution['errors'] = []
    let failure: string | null = null
    for (const asked of this.#asked) {
      const { program } = asked.program
      let index = streams.findIndex((stream) => stream.name === program.name)
      if (index < 0) index = streams.push({ name: program.name, is_default: program.automatic, errors: [] }) - 1
      const reason: BucketReason = asked.subscription === 'default' ? { default: index } : { sub: asked.subscription }
      const found: DetailedResolution['buckets'] = []
      try {
        this.#evaluate(asked, progress, (bucket) => found.push({ ...bucket, reasons: [reason], program: program.name }))
      } catch (error) {
        if (!(error instanceof EvaluationFailure) && !(error instanceof RangeError)) throw error
        const message = `Error evaluating bucket ids: ${error.message}`
        if (program.failsRequest) failure ??= message
        errors.push({ definition: program.name, subscription: asked.subscription, message })
        streams[index]?.errors.push({ subscription: asked.subscription, message })
        continue
      }
      for (const bucket of found) merge(buckets, bucket)
      if (buckets.size > this.#limits.buckets) throw tooMuch('buckets', this.#limits.buckets, 'MAX_BUCKETS')
    }
    const lookups = [...progress.lookups.keys()]
    return {
      lookups,
      need: lookups.filter((bucket) => progress.lookups.get(bucket) === null),
      buckets: [...buckets.values()],
      streams,
      errors,
      failure,
    }
  }

  #evaluate(asked: Asked, progress: Progress, found: (bucket: Omit<ResolvedBucket, 'reasons'>) => void): void {
    const environment = requestEnvironment(requestValues(this.#context, asked.parameters))
    progress.asked = 0
    for (const variant of asked.program.variants) {
      const seen = new Set<string>()
      variant.run(environment, progress, (key) => {
        if (seen.has(key)) return
        seen.add(key)
        if (seen.size > this.#limits.buckets) throw tooMuch('buckets', this.#limits.buckets, 'MAX_BUCKETS')
        found({ bucket: variant.bucket + key, definition: variant.definition, priority: asked.priority ?? variant.priority })
      })
    }
  }
}

/** A bucket reached several ways: the most urgent priority, all reasons. */
function merge<T extends ResolvedBucket>(buckets: Map<string, T>, bucket: T): void {
  const known = buckets.get(bucket.bucket)
  if (!known) {
    buckets.set(bucket.bucket, bucket)
    return
  }
  known.priority = Math.min(known.priority, bucket.priority)
  const texts = new Set(known.reasons.map((reason) => JSON.stringify(reason)))
  known.reasons.push(...bucket.reasons.filter((reason) => !texts.has(JSON.stringify(reason))))
}

/**
 * How often a program is evaluated for a request: once per subscription, and as default. Bucket definitions know no subscription
 * parameters: to name one in a subscription asks for its default.
 */
function askedOf(program: CompiledProgram, context: RequestContext): Asked[] {
  const { name, automatic, alwaysDefault, failsRequest } = program.program
  const subscribed = context.subscriptions.flatMap(({ stream, parameters, priority }, subscription): Asked[] =>
    stream === name ? [{ program, parameters: parameters ?? {}, priority, subscription }] : [],
  )
  const byDefault = automatic && (context.includeDefaults || ((alwaysDefault || failsRequest) && subscribed.length > 0))
  const explicit = failsRequest ? [] : subscribed
  return byDefault ? [...explicit, { program, parameters: null, priority: null, subscription: 'default' }] : explicit
}
