import { compileAlphaStream } from './alpha/stream.ts'
import type { Context } from './context.ts'
import { compileEvent } from './event.ts'
import { contentHash } from './plan/hash.ts'
import { PLAN_VERSION, type Definition, type Lookup, type PlanContent } from './plan/plan.ts'
import { compileBuckets } from './legacy/buckets.ts'
import { Findings } from './text/findings.ts'
import { readConfig, type ConfigText, type CteText } from './text/config.ts'
import { valueOptions, type Options } from './text/options.ts'
import { YamlReader } from './text/document.ts'
import { SchemaCheck, type SourceSchema } from './schema.ts'
import { compileStream, readCtes } from './compiled/stream.ts'
import type { Ctes } from './compiled/select.ts'
import type { CompileResult, Plan } from './types.ts'

export interface CompileSettings {
  /** Tables of the source, for warnings about names that do not exist. */
  schema?: SourceSchema
  /** Behave as the reference where it is wrong in a way that can grant too much or too little. Only for comparing with it. */
  copyTraps?: boolean
}

/** A compile result with what only tools want to know. */
export type DetailedResult = CompileResult & { options: Options | null }

export function compileConfig(yaml: string, settings: CompileSettings = {}): DetailedResult {
  const findings = new Findings(yaml)
  const config = readConfig(new YamlReader(yaml, findings))
  const plan = config && compilePlan(config, findings, settings)
  const errors = findings.all.filter((finding) => finding.level === 'error')
  const warnings = findings.all.filter((finding) => finding.level === 'warning')
  const options = config?.options ?? null
  if (errors.length > 0 || !plan) return { ok: false, errors, warnings, options }
  return { ok: true, plan, warnings, options }
}

function compilePlan(config: ConfigText, findings: Findings, settings: CompileSettings): Plan {
  const values = valueOptions(config.options)
  const definitions = new Contents<Definition>(values)
  const lookups = new Contents<Lookup>(values)
  const context: Context = {
    findings,
    edition: config.options.edition,
    fixedJson: config.options.fixedJsonExtract,
    copyTraps: settings.copyTraps ?? false,
    schema: settings.schema ? new SchemaCheck(settings.schema) : null,
    definition: (content) => definitions.add(content),
    lookup: (content) => lookups.add(content),
  }
  const programs: PlanContent['programs'] = []
  for (const bucket of config.buckets) {
    const program = compileBuckets(context, bucket)
    if (program) programs.push(program)
  }
  if (config.options.edition === 3) {
    const shared = readCtes(context, config.with)
    for (const stream of config.streams) {
      const own = readCtes(context, stream.with, shared)
      programs.push(compileStream(context, stream, own))
      warnUnused(context, stream.with, own)
    }
    warnUnused(context, config.with, shared)
  }
  if (config.options.edition === 2) {
    for (const stream of config.streams) {
      const program = compileAlphaStream(context, stream)
      if (program) programs.push(program)
    }
  }
  const content: PlanContent = {
    version: PLAN_VERSION,
    edition: config.options.edition,
    values,
    definitions: definitions.all,
    lookups: lookups.all,
    programs,
    events: config.events.map((event) => compileEvent(context, event)),
  }
  return { ...content }
}

function warnUnused(context: Context, texts: readonly CteText[], ctes: Ctes): void {
  for (const { name, key } of texts) {
    if (!ctes.get(name.toLowerCase())?.used) context.findings.warning('cte-unused', `'${name}' is not used.`, key)
    if (context.schema?.hasTable(name))
      context.findings.warning('cte-shadows', `'${name}' is also the name of a table, which it hides.`, key)
  }
}

/** Contents with their hashes, equal ones once. Labels are for people and do not count. */
class Contents<T extends { hash: string }> {
  readonly #values: unknown
  readonly all: T[] = []

  constructor(values: unknown) {
    this.#values = values
  }

  add(content: Omit<T, 'hash'>): number
  add(content: T): number {
    const hash = contentHash([this.#values, withoutLabels(content)])
    const known = this.all.findIndex((other) => other.hash === hash)
    return known >= 0 ? known : this.all.push({ ...content, hash }) - 1
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
