import { ValueFailure, type DeferredValue, type SourceRow } from '../../protocol/values.ts'
import { rowEnvironment, type Environment } from '../expressions/environment.ts'
import { compileExpression } from '../expressions/evaluate.ts'
import { columnText, EvaluationFailure, isNull, textForm, type Value } from '../expressions/values.ts'
import { bucketPrefix, definitionOf } from '../plan/plan.ts'
import type { Column, DataQuery, Lookup, LookupBranch, PlanContent, TablePattern } from '../plan/plan.ts'
import type { BucketRow, EvaluatedRow, EvaluationError } from '../types.ts'
import type { TableName } from '../../protocol/tables.ts'
import { branchReader } from './keys.ts'
import { RowBudget, RowTooMuch } from './row-budget.ts'
import { Sink, type Output } from './sink.ts'

// The file is long because it is the whole row side of a plan, read from top to bottom.

/** True for a lookup, whose rows clients never see. */
const LOOKUP_TYPE = 'lookup'

type Values = Readonly<Record<string, Value>>

interface Query {
  label: string
  /** The beginning of its buckets' names. */
  definition: string
  table: TablePattern
  read(environment: Environment, sink: Sink): void
}

interface Reader extends Query {
  /** The indexes of the plans that have it. */
  plans: readonly number[]
}

/** The row side of a plan: evaluates which rows of which buckets a source row becomes. */
export class RowEvaluator {
  readonly #readers: Reader[]
  readonly #options: PlanContent['values']
  /** When true, equal outputs are all returned, as the reference counts them. */
  readonly #repeats: boolean
  /** Readers by table, so that a row costs only the definitions that match its table. */
  readonly #byTable = new Map<string, Reader[]>()

  /** `members` are the plans of which `plan` was combined. */
  constructor(plan: PlanContent, members: readonly PlanContent[] = [plan]) {
    this.#options = plan.values
    this.#repeats = plan.copyTraps === true
    const names = members.map(({ definitions, lookups }) => new Set([...definitions, ...lookups].map(bucketPrefix)))
    const plansOf = (prefix: string): number[] => [...names.keys()].filter((i) => names[i]?.has(prefix))
    const data = plan.definitions.flatMap((definition) => {
      const prefix = bucketPrefix(definition)
      return definition.queries.map((query) => ({
        ...dataReader(prefix, query, this.#repeats),
        plans: plansOf(prefix),
      }))
    })
    this.#readers = [
      ...data,
      ...plan.lookups.map((lookup) => ({
        ...lookupReader(lookup, this.#repeats),
        plans: plansOf(bucketPrefix(lookup)),
      })),
    ]
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

  /**
   * Returns what the row is in which buckets. A row that exceeds a limit is in no bucket of that plan, and `errors` say
   * so.
   */
  outputs(
    table: TableName,
    row: SourceRow,
    emit: (output: Output) => void,
    errors: EvaluationError[],
    connection = 'default',
  ): void {
    const readers = this.readersOf(table, connection)
    if (readers.length === 0) return
    let values: Values
    try {
      values = resolveValues(row, this.#options)
    } catch (error) {
      if (!(error instanceof EvaluationFailure)) throw error
      for (const { label, definition } of readers) errors.push({ where: label, message: error.message, definition })
      return
    }
    const environment = rowEnvironment(table.schema, table.name, values)
    const budget = new RowBudget()
    const sink = new Sink(budget, errors, this.#repeats)
    const { outputs } = sink
    /** The end of each query's outputs. */
    const ends: number[] = []
    for (const reader of readers) {
      const start = outputs.length
      environment.suffix = reader.table.wildcard ? table.name.slice(reader.table.name.length) : ''
      sink.begin(reader)
      try {
        if (!budget.exhausted(reader.plans)) reader.read(environment, sink)
      } catch (error) {
        if (!(error instanceof EvaluationFailure) && !(error instanceof RangeError)) throw error
        if (!(error instanceof RowTooMuch)) {
          const { label, definition } = reader
          errors.push({
            where: label,
            message: error.message,
            definition,
            ...(error instanceof NoIdColumn ? { everyRow: true } : {}),
          })
        }
        outputs.length = start
      }
      ends.push(outputs.length)
    }
    if (budget.passed.length === 0) return outputs.forEach(emit)
    errors.push(...budget.passed)
    // A later query may have exceeded a limit. Then the outputs of earlier ones do not count either.
    for (const [i, { plans }] of readers.entries())
      if (!budget.exhausted(plans)) outputs.slice(ends[i - 1] ?? 0, ends[i]).forEach(emit)
  }

  evaluate(table: TableName, row: SourceRow): EvaluatedRow {
    const errors: EvaluationError[] = []
    const rows: BucketRow[] = []
    this.outputs(
      table,
      row,
      ({ bucket, definition, objectType, objectId, data }) =>
        rows.push({ bucket, definition, objectType, objectId, data }),
      errors,
    )
    return { rows: rows.length > 1 ? distinct(rows) : rows, errors }
  }
}

/** Keeps one row per bucket, table and id: the last one, as a client does. */
function distinct(rows: BucketRow[]): BucketRow[] {
  const byKey = new Map<string, BucketRow>()
  for (const row of rows) byKey.set(JSON.stringify([row.bucket, row.objectType, row.objectId]), row)
  return byKey.size === rows.length ? rows : [...byKey.values()]
}

export function matches(pattern: TablePattern, table: TableName, connection: string): boolean {
  if (pattern.schema !== table.schema || pattern.connection !== connection) return false
  return pattern.wildcard ? table.name.startsWith(pattern.name) : table.name === pattern.name
}

/**
 * Resolves values whose text depends on the options. Throws EvaluationFailure for a value without a text form: the
 * whole row fails.
 */
export function resolveValues(row: SourceRow, options: PlanContent['values']): Values {
  const out: Record<string, Value> = {}
  for (const name in row) {
    const given = row[name]
    const value =
      typeof given === 'object' && given !== null && 'resolve' in given ? resolveColumn(name, given, options) : given
    // `__proto__` is the one name that an assignment would not make a column.
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

function dataReader(prefix: string, query: DataQuery, repeats: boolean): Query {
  const branches = query.branches.map((branch) => branchReader(branch, { repeats }))
  const columns = compileColumns(query.columns)
  const definition = definitionOf(prefix)
  return {
    label: query.label,
    definition,
    table: query.table,
    read(environment, sink) {
      let body: { values: [string, Value][]; data: string; id: string } | undefined
      for (const branch of branches) {
        branch(environment, (key) => {
          if (!body) {
            const values = columns(environment)
            body = { values, data: dataText(values), id: repeats ? (idText(values) ?? '') : objectId(values) }
          }
          const bucket = prefix + key
          if (!sink.wants(bucket, key, body.data)) return
          sink.outputs.push({
            bucket,
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

/**
 * Returns an output of a lookup as JSON. A BLOB, NaN and the infinities make no key, and must not be read back as NULL,
 * which may match: they are written as a number that is read as an infinity.
 */
function outputText(value: Value): string {
  const number = typeof value === 'number' && !Number.isFinite(value)
  return number || value instanceof Uint8Array ? '1e999' : (columnText(value) ?? 'null')
}

function lookupReader(lookup: Lookup, repeats: boolean): Query {
  const branches = lookup.branches.map((branch: LookupBranch) => ({
    read: branchReader(branch, { outputs: branch.outputs, repeats }),
    outputs: branch.outputs.map((output) => compileExpression(output)),
  }))
  const prefix = bucketPrefix(lookup)
  const definition = definitionOf(prefix)
  return {
    label: lookup.label,
    definition,
    table: lookup.table,
    read(environment, sink) {
      for (const { read, outputs } of branches) {
        read(environment, (key) => {
          const texts = outputs.map((output) => outputText(output(environment)))
          const data = `[${texts.join(',')}]`
          // The outputs are the identity: different outputs of one source row are different rows, equal ones are one
          // row.
          const bucket = prefix + key
          if (!sink.wants(bucket, `${key}${data}`, data)) return
          sink.outputs.push({ bucket, definition, objectType: LOOKUP_TYPE, objectId: data, values: null, data })
        })
      }
    },
  }
}

/** Returns the output columns in order. A later column replaces the value of an earlier one of the same name. */
export function compileColumns(columns: readonly Column[]): (environment: Environment) => [string, Value][] {
  const parts = columns.map((column) =>
    'all' in column ? column : { name: column.name, evaluate: compileExpression(column.expr) },
  )
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

/** Returns the JSON object that clients store. Missing columns and BLOBs are left out. */
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

/**
 * Returns whether no row of the table has an id, because the table has no column `id` and the query gives no other
 * value that name.
 */
class NoIdColumn extends EvaluationFailure {}

/**
 * Returns the row's id on a client. Throws EvaluationFailure for a row without one. (The reference gives all of them
 * the id '', so a client keeps only one.)
 */
function objectId(values: readonly [string, Value][]): string {
  const id = idText(values)
  if (id !== null) return id
  const given = values.find(([name]) => name === 'id')
  if (!given) throw new NoIdColumn('there is no column id, by which a client tells rows apart: select one, … AS id')
  throw new EvaluationFailure(`the id of the row is ${given[1] instanceof Uint8Array ? 'a BLOB' : 'NULL'}`)
}

/** Returns the text form of the column `id`, or null when there is none. */
function idText(values: readonly [string, Value][]): string | null {
  const id = values.find(([name]) => name === 'id')?.[1]
  return isNull(id) || id instanceof Uint8Array ? null : textForm(id)
}
