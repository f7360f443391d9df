import type { SourceRow } from '../../protocol/values.ts'
import { compileConfig, type DetailedResult } from '../compile.ts'
import { jsonText, parseJson, realText, type Json, type JsonObject } from '../expressions/json.ts'
import { EvaluationFailure, type Value } from '../expressions/values.ts'
import { EventEvaluator } from '../evaluate/events.ts'
import { ReadyPlan, patternsOf } from '../evaluate/plan.ts'
import type { DetailedResolution } from '../evaluate/request.ts'
import type { Output } from '../evaluate/sink.ts'
import { contentOf } from '../plan/plan.ts'
import type { SourceSchema } from '../schema.ts'
import { Lines } from '../parse/findings.ts'
import type { EvaluationError, Finding, Plan, RequestContext } from '../types.ts'
import { isObject, recordOf } from './values.ts'

interface CaseRow {
  table: string
  schema: string
  connection: string
  record: SourceRow
  /** Why the record cannot be read. */
  failure: string | null
}

interface Evaluated {
  outputs: Output[]
  errors: EvaluationError[]
  failure: string | null
}

const objectOf = (value: Json | undefined): JsonObject => (isObject(value) ? value : {})
const listOf = (value: Json | undefined): Json[] => (Array.isArray(value) ? value : [])

/** Request values are read as ordinary JSON: all numbers are JavaScript numbers. */
const plain = (value: Json | undefined): Record<string, unknown> => (isObject(value) ? JSON.parse(jsonText(value)) : {})

/**
 * Evaluates a case (JSON text: config, rows, requests) and returns the result as JSON text. Throws JsonError for a text
 * that is not JSON. With `copyTraps` (the default) it evaluates as the reference does, even where that is wrong;
 * without, as a deployed config behaves.
 */
export function evaluateCase(text: string, { copyTraps = true }: { copyTraps?: boolean } = {}): string {
  const given = objectOf(parseJson(text))
  const yaml = given['yaml']
  if (typeof yaml !== 'string')
    throw new Error('this JSON is no case: it must be an object with the sync config as text in "yaml"')
  const options = objectOf(given['options'])
  const defaultSchema = String(options['defaultSchema'] ?? 'public')
  const schema = schemaOf(options['schema'], defaultSchema)
  const result = compileConfig(yaml, { copyTraps, defaultSchema, ...(schema ? { schema } : {}) })
  const head = { valid: result.ok, errors: findingsOf(result, yaml) }
  if (!result.ok) return print(head)
  const rows = listOf(given['rows']).map((row) => rowOf(row, defaultSchema))
  return print({
    ...head,
    ...configOf(result),
    ...evaluatePlan(result.plan, rows, listOf(given['requests']).map(requestOf)),
  })
}

function evaluatePlan(plan: Plan, rows: CaseRow[], requests: RequestContext[]): Record<string, unknown> {
  const ready = new ReadyPlan(plan)
  const content = contentOf(plan)
  const lookups = new Set(content.lookups.map((lookup) => lookup.hash))
  const evaluated = rows.map(({ table, schema, connection, record, failure }): Evaluated => {
    const out: Evaluated = { outputs: [], errors: [], failure }
    if (failure !== null) return out
    ready.rows.outputs({ schema, name: table }, record, (output) => out.outputs.push(output), out.errors, connection)
    return out
  })
  const stored = new Map<string, string[]>()
  for (const { outputs } of evaluated) {
    for (const output of outputs) {
      if (lookups.has(output.definition)) stored.set(output.bucket, [...(stored.get(output.bucket) ?? []), output.data])
    }
  }
  const events = new EventEvaluator(content)
  return {
    source_tables: patternsOf(content)
      .map(({ connection, schema, name, wildcard }) => `${connection}/${schema}/${name}${wildcard ? '%' : ''}`)
      .sort(),
    definitions: content.programs.map(({ name, automatic, failsRequest, alwaysDefault, variants }) => ({
      name,
      default: automatic,
      buckets: [...new Set(variants.map((variant) => content.definitions[variant.definition]?.name))],
      // Lookups of compiled streams belong to no stream.
      lookups:
        failsRequest || alwaysDefault
          ? variants.flatMap(({ steps }) => steps.filter((step) => 'lookup' in step)).length
          : 0,
    })),
    data: evaluated.map(({ outputs, errors, failure }) => [
      ...(failure === null ? [] : [{ row_error: failure }]),
      ...outputs
        .filter((output) => !lookups.has(output.definition))
        .map((output) => ({
          bucket: shortName(output.bucket),
          table: output.objectType,
          id: output.objectId,
          data: dataOf(output),
        })),
      ...errors.filter((error) => !error.where.startsWith('lookup')).map((error) => ({ error: error.message })),
    ]),
    lookups: evaluated.map(({ outputs }) =>
      outputs
        .filter((output) => lookups.has(output.definition))
        .map((output) => ({ lookup: shortName(output.bucket), outputs: [parseJson(output.data)] })),
    ),
    ...(content.events.length > 0
      ? {
          events: rows.map((row) =>
            events.evaluate(row).map(({ event, values, errors }) => ({ event, data: objectText(values), errors })),
          ),
        }
      : {}),
    buckets: requests.map((request) => requestResult(ready, request, evaluated, stored, lookups)),
  }
}

function requestResult(
  ready: ReadyPlan,
  request: RequestContext,
  evaluated: Evaluated[],
  stored: Map<string, string[]>,
  lookups: Set<string>,
): unknown {
  let resolution: DetailedResolution
  try {
    resolution = ready.request(request).resolve((bucket) => stored.get(bucket) ?? [])
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) }
  }
  if (resolution.failure !== null) return { error: resolution.failure }
  const priorities = new Map(resolution.buckets.map((bucket) => [bucket.bucket, bucket.priority]))
  const synced = evaluated.flatMap(({ outputs }, row) =>
    outputs.flatMap((output) => {
      const priority = lookups.has(output.definition) ? undefined : priorities.get(output.bucket)
      return priority === undefined
        ? []
        : [{ row, table: output.objectType, id: output.objectId, data: dataOf(output), priority }]
    }),
  )
  return {
    errors: resolution.errors,
    buckets: resolution.buckets.map(({ bucket, priority, reasons, program }) => ({
      bucket: shortName(bucket),
      priority,
      definition: program,
      reasons: reasons.map((reason) => ('sub' in reason ? reason.sub : 'default')),
    })),
    dynamic: resolution.lookups.length > 0,
    performed_lookups: resolution.lookups.map(shortName),
    synced: [...new Map(synced.map((entry) => [print(entry), entry])).values()],
  }
}

/** Returns a bucket's name without the hash. */
const shortName = (bucket: string): string => bucket.slice(bucket.indexOf('#') + 1)

class Raw {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

const dataOf = (output: Output): Raw => objectText(output.values ?? [])

/** A synced object; NaN and infinities, which JSON cannot say, as `{"$real": "NaN"}`. */
function objectText(values: readonly [string, Value][]): Raw {
  const parts = values.flatMap(([name, value]) => {
    if (value === undefined || value instanceof Uint8Array) return []
    const text =
      typeof value === 'number' ? (Number.isFinite(value) ? realText(value) : `{"$real":"${value}"}`) : jsonText(value)
    return [`${JSON.stringify(name)}:${text}`]
  })
  return new Raw(`{${parts.join(',')}}`)
}

/** Prints JSON in which whole JavaScript numbers (counts, offsets) are integers and raw parts are copied. */
function print(value: unknown): string {
  if (value instanceof Raw) return value.text
  // What a lookup has for a value that makes no key.
  if (typeof value === 'number' && !Number.isFinite(value)) return 'null'
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (typeof value !== 'object' || value === null) return jsonText(value)
  if (Array.isArray(value)) return `[${value.map(print).join(',')}]`
  return `{${Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .map(([key, member]) => `${JSON.stringify(key)}:${print(member)}`)
    .join(',')}}`
}

function findingsOf(result: DetailedResult, yaml: string): unknown[] {
  const lines = new Lines(yaml)
  const all: Finding[] = result.ok ? result.warnings : [...result.errors, ...result.warnings]
  return all.map(({ level, code, message, place, end }) => {
    const start = lines.offset(place)
    const stop = end ? lines.offset(end) : start
    return {
      type: level === 'error' ? 'fatal' : 'warning',
      code,
      message,
      start,
      end: stop,
      source: yaml.slice(start, stop),
    }
  })
}

function configOf({ options }: DetailedResult): object {
  if (!options) return {}
  return {
    config: {
      edition: options.edition,
      options: {
        timestamps_iso8601: options.timestampsIso8601,
        versioned_bucket_ids: options.versionedBucketIds,
        fixed_json_extract: options.fixedJsonExtract,
        custom_postgres_types: options.customPostgresTypes,
        unstable_sqlite_expression_engine: false,
      },
      max_time_precision: options.maxPrecision ?? null,
      storage_version: options.storageVersion ?? null,
    },
  }
}

function rowOf(value: Json, defaultSchema: string): CaseRow {
  const row = objectOf(value)
  return {
    table: String(row['table']),
    schema: String(row['schema'] ?? defaultSchema),
    connection: String(row['connection'] ?? 'default'),
    ...recordOrFailure(objectOf(row['record'])),
  }
}

function recordOrFailure(record: JsonObject): { record: SourceRow; failure: string | null } {
  try {
    return { record: recordOf(record), failure: null }
  } catch (error) {
    if (!(error instanceof EvaluationFailure)) throw error
    return { record: {}, failure: error.message }
  }
}

function requestOf(value: Json): RequestContext {
  const request = objectOf(value)
  return {
    claims: plain(request['jwt']),
    parameters: plain(request['parameters']),
    includeDefaults: request['include_defaults'] !== false,
    subscriptions: listOf(request['subscriptions']).map((item) => {
      const { stream, parameters, priority } = objectOf(item)
      return {
        stream: String(stream),
        parameters: isObject(parameters) ? plain(parameters) : null,
        priority: typeof priority === 'bigint' ? Number(priority) : null,
      }
    }),
  }
}

function schemaOf(value: Json | undefined, defaultSchema: string): SourceSchema | null {
  if (!isObject(value)) return null
  const tables = listOf(value['tables']).map((item) => {
    const { schema, name, columns } = objectOf(item)
    return { schema: String(schema ?? defaultSchema), name: String(name), columns: Object.keys(objectOf(columns)) }
  })
  return { tables }
}
