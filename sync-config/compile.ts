import { compileAlphaStream } from './editions/streams-2/stream.ts'
import type { Context } from './context.ts'
import { compileEvent } from './event.ts'
import { contentText, textHash } from './plan/hash.ts'
import { PLAN_VERSION, type Definition, type Lookup, type PlanContent, type Program } from './plan/plan.ts'
import { expressionText } from './explain.ts'
import { placeOf } from './expressions/places.ts'
import { differsInSqlite } from './plan/sqlite.ts'
import { costWarnings } from './plan/warnings.ts'
import { compileBuckets } from './editions/buckets/buckets.ts'
import { Findings } from './parse/findings.ts'
import { neverEqual } from './comparisons.ts'
import { readConfig, type ConfigText, type CteText } from './parse/config.ts'
import { valueOptions, type Options } from './parse/options.ts'
import { YamlReader } from './parse/document.ts'
import { DEFAULT_LIMITS } from './limits.ts'
import { SchemaCheck, type SourceSchema } from './schema.ts'
import { compileStream, readCtes } from './editions/streams-3/stream.ts'
import type { Ctes } from './editions/streams-3/select.ts'
import { TooMuchWork, type Work, type WorkKind } from './parse/work.ts'
import type { Range } from './parse/findings.ts'
import type { CompileLimits, CompileResult, Plan } from './types.ts'

export interface CompileSettings {
  /** Tables of the source, for warnings about names that do not exist. */
  schema?: SourceSchema
  /** Behave as the reference even where it is wrong and grants too much or too little. Only for comparing with it. */
  copyTraps?: boolean
  limits?: Partial<CompileLimits>
  /** The schema of unqualified tables; default `public`. */
  defaultSchema?: string
}

/** A compile result with additional information for tools. */
export type DetailedResult = CompileResult & { options: Options | null; work: Readonly<Record<WorkKind, number>> }

export function compileConfig(yaml: string, settings: CompileSettings = {}): DetailedResult {
  const limits = { ...DEFAULT_LIMITS, ...settings.limits }
  const scale = Math.max(1, limits.disjuncts / DEFAULT_LIMITS.disjuncts)
  const findings = new Findings(yaml, scale)
  const config = readConfig(new YamlReader(yaml, findings))
  const plan = config && compilePlan(config, findings, settings, limits)
  const errors = findings.all.filter((finding) => finding.level === 'error')
  const warnings = findings.all.filter((finding) => finding.level === 'warning')
  const options = config?.options ?? null
  const work = findings.work.steps
  if (errors.length > 0 || !plan) return { ok: false, errors, warnings, options, work }
  return { ok: true, plan, warnings, options, work }
}

function compilePlan(config: ConfigText, findings: Findings, settings: CompileSettings, limits: CompileLimits): Plan {
  const values = valueOptions(config.options)
  // The reference keeps equal contents with different names apart. Here a name is only for people, so a new name
  // changes nothing.
  const named = settings.copyTraps ?? false
  const definitions = new Contents<Definition>(values, named, findings.work)
  const lookups = new Contents<Lookup>(values, named, findings.work)
  const context: Context = {
    findings,
    edition: config.options.edition,
    fixedJson: config.options.fixedJsonExtract,
    copyTraps: settings.copyTraps ?? false,
    defaultSchema: settings.defaultSchema ?? 'public',
    limits,
    schema: settings.schema ? new SchemaCheck(settings.schema) : null,
    definition: (content) => definitions.add(content),
    lookup: (content) => lookups.add(content),
  }
  const programs: PlanContent['programs'] = []
  const compileEach = <T extends { key: Range }>(
    texts: readonly T[],
    compileOne: (text: T) => Program | null,
  ): void => {
    for (const text of texts) {
      const program = within(findings, text.key, () => compileOne(text))
      if (!program) continue
      programs.push(program)
      for (const [code, message] of costWarnings(program, definitions.all, lookups.all))
        findings.warning(code, message, text.key)
      if (!context.schema) continue
      for (const { message, sides } of neverEqual(program, definitions.all, lookups.all, context.schema)) {
        findings.warning('never-equal', message, placeOf(sides, extentOf(text, texts, findings.length)) ?? text.key)
      }
    }
  }
  compileEach(config.buckets, (bucket) => compileBuckets(context, bucket))
  if (config.options.edition === 3) {
    const shared = within(findings, config.with[0]?.key ?? [0, 1], () => readCtes(context, config.with)) ?? new Map()
    compileEach(config.streams, (stream) => {
      const own = readCtes(context, stream.with, shared)
      const program = compileStream(context, stream, own)
      warnUnused(context, stream.with, own)
      return program
    })
    warnUnused(context, config.with, shared)
  }
  if (config.options.edition === 2) compileEach(config.streams, (stream) => compileAlphaStream(context, stream))
  const content: PlanContent = {
    version: PLAN_VERSION,
    ...(settings.copyTraps ? { copyTraps: true } : {}),
    edition: config.options.edition,
    values,
    definitions: definitions.all,
    lookups: lookups.all,
    programs,
    events: config.events.flatMap((event) => within(findings, event.key, () => compileEvent(context, event)) ?? []),
  }
  if (config.options.sqliteEngine) checkSqlite(findings, content, config.options.sqliteEngine)
  return { ...content }
}

/**
 * Expressions are never evaluated in SQLite. A config that asks for it is accepted only if that makes no difference.
 */
function checkSqlite(findings: Findings, content: PlanContent, place: Range): void {
  // Only edition 3 would evaluate expressions in SQLite.
  const differs = content.edition === 3 ? differsInSqlite(content) : null
  if (differs === null) {
    findings.warning(
      'sqlite-engine',
      "'unstable_sqlite_expression_engine' has no effect here: these expressions give the same without it.",
      place,
    )
    return
  }
  const message = `'unstable_sqlite_expression_engine' is not supported, and SQLite could give another value for ${expressionText(differs)}. Remove the option.`
  findings.error('sqlite-engine', message, place)
}

/**
 * Returns the text of a definition, from its name to the next one. Equal parts of two streams are one part, with the
 * place of the first.
 */
function extentOf({ key: [start] }: { key: Range }, all: readonly { key: Range }[], length: number): Range {
  return [start, Math.min(length, ...all.flatMap(({ key: [other] }) => (other > start ? [other] : [])))]
}

/** Returns what `make` returns, or null, with an error at `place`, when it takes too much work. */
function within<T>(findings: Findings, place: Range, make: () => T): T | null {
  try {
    return make()
  } catch (error) {
    if (!(error instanceof TooMuchWork) && !(error instanceof RangeError)) throw error
    findings.error(
      'plan-work',
      'Planning this takes too much work: split it, or use fewer ORs, joins and subqueries.',
      place,
    )
    return null
  }
}

function warnUnused(context: Context, texts: readonly CteText[], ctes: Ctes): void {
  for (const { name, key } of texts) {
    if (!ctes.get(name.toLowerCase())?.used) context.findings.warning('cte-unused', `'${name}' is not used.`, key)
    if (context.schema?.hasTable(name))
      context.findings.warning('cte-shadows', `'${name}' is also the name of a table, which it hides.`, key)
  }
}

/**
 * Returns contents with their hashes, equal ones once. Labels are for people and are not hashed, nor are names unless
 * `named`.
 */
class Contents<T extends { hash: string; name: string }> {
  readonly #values: unknown
  readonly #named: boolean
  readonly #work: Work
  readonly #indexes = new Map<string, number>()
  readonly all: T[] = []

  constructor(values: unknown, named: boolean, work: Work) {
    this.#values = values
    this.#named = named
    this.#work = work
  }

  add(content: Omit<T, 'hash'>): number
  add(content: T): number {
    const { name, ...rest } = content
    const text = contentText([this.#values, withoutLabels(this.#named ? { name, ...rest } : rest)])
    this.#work.step('plan', Math.ceil(text.length / 10))
    const hash = textHash(text)
    const known = this.#indexes.get(hash)
    if (known !== undefined) return known
    this.#indexes.set(hash, this.all.length)
    return this.all.push({ ...content, hash }) - 1
  }
}

function withoutLabels(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutLabels)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => key !== 'label')
      .map(([key, member]) => [key, withoutLabels(member)]),
  )
}
