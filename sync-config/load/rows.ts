import { ValueFailure, type DeferredValue, type SourceRow } from '../../protocol/values.ts'
import { rowEnvironment, type Element, type Environment } from '../expressions/environment.ts'
import { walk, type Walk } from '../expressions/elements.ts'
import { compileExpression, type Evaluate } from '../expressions/evaluate.ts'
import { columnText, EvaluationFailure, isNull, keyText, textForm, truth, type Value } from '../expressions/values.ts'
import { bucketPrefix, definitionOf } from '../plan/plan.ts'
import type { Branch, Column, DataQuery, Key, Lookup, LookupBranch, PlanContent, TablePattern } from '../plan/plan.ts'
import type { BucketRow, EvaluatedRow, EvaluationError, TableName } from '../types.ts'

/** Clients never see rows of lookups. */
const LOOKUP_TYPE = 'lookup'

type Values = Readonly<Record<string, Value>>

/** A row of a data bucket or of a lookup bucket before it has its text form. */
export interface Output {
  bucket: string
  definition: string
  objectType: string
  objectId: string
  values: [name: string, value: Value][] | null
  data: string
}

interface Reader {
  label: string
  table: TablePattern
  read(environment: Environment, emit: (output: Output) => void): void
}

/** The row side of a plan: which rows of which buckets a source row becomes. */
export class RowEvaluator {
  readonly #readers: Reader[]
  readonly #options: PlanContent['values']
  /** Readers by table: a config with many definitions costs a row nothing but those that match. */
  readonly #byTable = new Map<string, Reader[]>()

  constructor(plan: PlanContent) {
    this.#options = plan.values
    const data = plan.definitions.flatMap((definition) => definition.queries.map((query) => dataReader(bucketPrefix(definition), query)))
    this.#readers = [...data, ...plan.lookups.map(lookupReader)]
  }

  readersOf(table: TableName, connection = 'default'): readonly Reader[] {
    const key = `${table.schema}\0${table.name}\0${connection}`
    const known = this.#byTable.get(key)
    if (known) return known
    const found = this.#readers.filter((reader) => matches(reader.table, table, connection))
    if (this.#byTable.size > 10_000) this.#byTable.clear()
    this.#byTable.set(key, found)
    return found
  }

  /** Every output, duplicates included. */
  outputs(table: TableName, row: SourceRow, emit: (output: Output) => void, errors: EvaluationError[], connection = 'default'): void {
    const readers = this.readersOf(table, connection)
    if (readers.length === 0) return
    let values: Values
    try {
      values = resolveValues(row, this.#options)
    } catch (error) {
      if (!(error instanceof EvaluationFailure)) throw error
      for (const { label } of readers) errors.push({ where: label, message: error.message })
      return
    }
    const environment = rowEnvironment(table.schema, table.name, values)
    for (const reader of readers) {
      const outputs: Output[] = []
      environment.suffix = reader.table.wildcard ? table.name.slice(reader.table.name.length) : ''
      try {
        reader.read(environment, (output) => outputs.push(output))
      } catch (error) {
        if (!(error instanceof EvaluationFailure) && !(error instanceof RangeError)) throw error
        errors.push({ where: reader.label, message: error.message })
        continue
      }
      outputs.forEach(emit)
    }
  }

  evaluate(table: TableName, row: SourceRow): EvaluatedRow {
    const errors: EvaluationError[] = []
    const rows: BucketRow[] = []
    this.outputs(
      table,
      row,
      ({ bucket, definition, objectType, objectId, data }) => rows.push({ bucket, definition, objectType, objectId, data }),
      errors,
    )
    return { rows: rows.length > 1 ? distinct(rows) : rows, errors }
  }
}

/** One row per bucket, table and id: the last one stands, as on a client. */
function distinct(rows: BucketRow[]): BucketRow[] {
  const byKey = new Map<string, BucketRow>()
  for (const row of rows) byKey.set(JSON.stringify([row.bucket, row.objectType, row.objectId]), row)
  return byKey.size === rows.length ? rows : [...byKey.values()]
}

export function matches(pattern: TablePattern, table: TableName, connection: string): boolean {
  if (pattern.schema !== table.schema || pattern.connection !== connection) return false
  return pattern.wildcard ? table.name.startsWith(pattern.name) : table.name === pattern.name
}

/** Values whose text depends on the options get it here. Throws EvaluationFailure for a value that has none: the row fails as a whole. */
export function resolveValues(row: SourceRow, options: PlanContent['values']): Values {
  const out: Record<string, Value> = {}
  for (const name in row) {
    const given = row[name]
    const value = typeof given === 'object' && given !== null && 'resolve' in given ? resolveColumn(name, given, options) : given
    // The one name that an assignment would not make a column of.
    if (name === '__proto__') Object.defineProperty(out, name, { value, enumerable: true })
    else out[name] = value
  }
  return out
}

function resolveColumn(name: string, value: DeferredValue, options: PlanContent['values']): Value {
  try {
    return value.resolve(options)
  } catch (error) {
    if (error instanceof ValueFailure) throw new EvaluationFailure(`column ${name}: ${error.message}`)
    throw error
  }
}

interface CompiledKey {
  evaluate: Evaluate
  nulls: boolean
}

export const compileKeys = (keys: readonly Key[]): CompiledKey[] =>
  keys.map(({ expr, nulls }) => ({ evaluate: compileExpression(expr), nulls }))

/** JSON array of a key, or undefined when a part cannot be one. */
export function keyOf(keys: readonly CompiledKey[], environment: Environment): string | undefined {
  let out = '['
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i]
    if (!key) break
    const value = key.evaluate(environment)
    if (isNull(value) && !key.nulls) return undefined
    const text = keyText(value)
    if (text === undefined) return undefined
    out += i === 0 ? text : `,${text}`
  }
  return `${out}]`
}

/** Calls `found` for every combination of elements that passes the filter, with the key. */
function branchReader(branch: Branch): (environment: Environment, found: (key: string) => void) => void {
  const each = branch.each.map(({ expr, how }): { evaluate: Evaluate; how: Walk } => ({ evaluate: compileExpression(expr), how }))
  const filter = branch.filter && compileExpression(branch.filter)
  const keys = compileKeys(branch.keys)
  const finish = (environment: Environment, found: (key: string) => void): void => {
    if (filter && !truth(filter(environment))) return
    const key = keyOf(keys, environment)
    if (key !== undefined) found(key)
  }
  if (each.length === 0) return finish
  return (environment, found) => {
    const descend = (n: number): void => {
      const walked = each[n]
      if (!walked) return finish(environment, found)
      for (const element of walk(walked.evaluate(environment), walked.how)) {
        environment.elements[n] = element
        descend(n + 1)
      }
    }
    const before: Element[] = environment.elements
    environment.elements = []
    try {
      descend(0)
    } finally {
      environment.elements = before
    }
  }
}

function dataReader(prefix: string, query: DataQuery): Reader {
  const branches = query.branches.map(branchReader)
  const columns = compileColumns(query.columns)
  const definition = definitionOf(prefix)
  return {
    label: query.label,
    table: query.table,
    read(environment, emit) {
      let body: { values: [string, Value][]; data: string; id: string } | undefined
      for (const branch of branches) {
        branch(environment, (key) => {
          if (!body) {
            const values = columns(environment)
            body = { values, data: dataText(values), id: objectId(values) }
          }
          emit({
            bucket: prefix + key,
            definition,
            objectType: query.output ?? environment.table,
            objectId: body.id,
            values: body.values,
            data: body.data,
          })
        })
      }
    },
  }
}

function lookupReader(lookup: Lookup): Reader {
  const branches = lookup.branches.map((branch: LookupBranch) => ({
    read: branchReader(branch),
    outputs: branch.outputs.map(compileExpression),
  }))
  const prefix = bucketPrefix(lookup)
  const definition = definitionOf(prefix)
  return {
    label: lookup.label,
    table: lookup.table,
    read(environment, emit) {
      for (const { read, outputs } of branches) {
        read(environment, (key) => {
          const texts = outputs.map((output) => columnText(output(environment)) ?? 'null')
          const data = `[${texts.join(',')}]`
          // The outputs are the identity: several outputs of one source row stay apart, equal ones are one.
          emit({ bucket: prefix + key, definition, objectType: LOOKUP_TYPE, objectId: data, values: null, data })
        })
      }
    },
  }
}

/** Output columns in their order; a later one of the same name replaces the value of the earlier. */
export function compileColumns(columns: readonly Column[]): (environment: Environment) => [string, Value][] {
  const parts = columns.map((column) => ('all' in column ? column : { name: column.name, evaluate: compileExpression(column.expr) }))
  const [only] = parts
  if (parts.length === 1 && only && 'all' in only) {
    const { hidden } = only.all
    return ({ row }) => Object.entries(row).filter(([name]) => hidden || !name.startsWith('_'))
  }
  const fixed = parts.flatMap((part) => ('all' in part ? [] : [part]))
  if (fixed.length === parts.length && new Set(fixed.map((part) => part.name)).size === fixed.length) {
    return (environment) => fixed.map(({ name, evaluate }) => [name, evaluate(environment)])
  }
  return (environment) => {
    const out = new Map<string, Value>()
    for (const part of parts) {
      if (!('all' in part)) {
        out.set(part.name, part.evaluate(environment))
        continue
      }
      for (const [name, value] of Object.entries(environment.row)) {
        if ((part.all.hidden || !name.startsWith('_')) && !(part.all.fill && out.has(name))) out.set(name, value)
      }
    }
    return [...out]
  }
}

/** The JSON object that clients store: missing columns and BLOBs are left out. */
function dataText(values: readonly [string, Value][]): string {
  let out = ''
  for (const [name, value] of values) {
    const text = columnText(value)
    if (text !== undefined) out += `${out === '' ? '' : ','}${nameText(name)}:${text}`
  }
  return `{${out}}`
}

const nameTexts = new Map<string, string>()
function nameText(name: string): string {
  let text = nameTexts.get(name)
  if (text === undefined) {
    if (nameTexts.size > 10_000) nameTexts.clear()
    text = JSON.stringify(name)
    nameTexts.set(name, text)
  }
  return text
}

/** Text form of the column `id`; '' without one. */
function objectId(values: readonly [string, Value][]): string {
  const id = values.find(([name]) => name === 'id')?.[1]
  return isNull(id) || id instanceof Uint8Array ? '' : (textForm(id) ?? '')
}
