import { ProblemError } from './core/problem.ts'
import type { StoreSchema } from './core/store/tables.ts'
import type { ColumnType, SqlValue } from './types.ts'

// The tables of an application with the types of their rows. A column says how a value looks in a row, and how SQLite
// holds it.

export type ColumnKind = 'text' | 'integer' | 'real' | 'boolean' | 'json' | 'bigint' | 'timestamp'

const STORED: Record<ColumnKind, ColumnType> = {
  text: 'text',
  integer: 'integer',
  real: 'real',
  boolean: 'boolean',
  json: 'json',
  bigint: 'integer',
  timestamp: 'text',
}

/** `T`: its values; `Null`: NULL is one; `Given`: an insert may leave it out. */
export interface Column<T, Null extends boolean = false, Given extends boolean = false> {
  readonly kind: ColumnKind
  readonly isNullable: boolean
  /** Answers what an insert that leaves it out stores; null: it may not be left out. */
  readonly given: (() => T | null) | null
  nullable(): Column<T, true, true>
  default(value: T | (() => T)): Column<T, Null, true>
  /**
   * Only for the compiler. All three: a parameter that no member uses is not compared, and then every column is
   * optional.
   */
  readonly '~types'?: { value: T; null: Null; given: Given }
}

export type AnyColumn = Column<unknown, boolean, boolean>
export type Columns = Readonly<Record<string, AnyColumn>>

export interface TableOptions<C extends Columns> {
  /** Columns of each index by its name. */
  indexes?: Readonly<Record<string, readonly (keyof C & string)[]>>
  /**
   * Uploads carry the values that were there before: for a backend that refuses to write over what others have changed.
   */
  old?: boolean
}

export interface Table<C extends Columns = Columns> {
  readonly columns: C
  readonly indexes: Readonly<Record<string, readonly string[]>>
  readonly old: boolean
  readonly local: boolean
}

export interface TypedSchema<T extends Readonly<Record<string, Table>> = Readonly<Record<string, Table>>> {
  readonly tables: T
}

type Value<C> = C extends Column<infer T, infer N, boolean> ? (N extends true ? T | null : T) : never
type ColumnsOf<S extends TypedSchema, T extends keyof S['tables']> = {
  [K in keyof S['tables'][T]['columns']]: Value<S['tables'][T]['columns'][K]>
}
type Optional<C> = { [K in keyof C]: C[K] extends Column<unknown, boolean, true> ? K : never }[keyof C]
type Flat<T> = { [K in keyof T]: T[K] } & {}

/** A row of a table. */
export type RowOf<S extends TypedSchema, T extends keyof S['tables']> = Flat<{ id: string } & ColumnsOf<S, T>>
/** What an insert takes. Without `id` it makes one. */
export type InsertOf<S extends TypedSchema, T extends keyof S['tables']> = Flat<
  { id?: string } & Omit<ColumnsOf<S, T>, Optional<S['tables'][T]['columns']>> & Partial<ColumnsOf<S, T>>
>
/** What an update takes. */
export type PatchOf<S extends TypedSchema, T extends keyof S['tables']> = Partial<ColumnsOf<S, T>>
/** All tables, as Kysely wants them. */
export type DatabaseOf<S extends TypedSchema> = { [T in keyof S['tables']]: RowOf<S, T> }

class Made<T, Null extends boolean, Given extends boolean> implements Column<T, Null, Given> {
  readonly kind: ColumnKind
  readonly isNullable: boolean
  readonly given: (() => T | null) | null

  constructor(kind: ColumnKind, isNullable: boolean, given: (() => T | null) | null) {
    this.kind = kind
    this.isNullable = isNullable
    this.given = given
  }

  nullable(): Column<T, true, true> {
    return new Made<T, true, true>(this.kind, true, this.given ?? (() => null))
  }

  default(value: T | (() => T)): Column<T, Null, true> {
    return new Made<T, Null, true>(this.kind, this.isNullable, isMaker(value) ? value : () => value)
  }
}

const isMaker = <T>(value: T | (() => T)): value is () => T => typeof value === 'function'
const made = <T>(kind: ColumnKind): Column<T> => new Made<T, false, false>(kind, false, null)

export const text = (): Column<string> => made('text')
export const integer = (): Column<number> => made('integer')
export const real = (): Column<number> => made('real')
export const boolean = (): Column<boolean> => made('boolean')
/** Values of JSON; `T` is what the application says they are. */
export const json = <T = unknown>(): Column<T> => made('json')
/** 64 bits. */
export const bigint = (): Column<bigint> => made('bigint')
/** Text as the server sends it (ISO 8601): it keeps microseconds and sorts in SQL, and a `Date` would lose both. */
export const timestamp = (): Column<string> => made('timestamp')

export function table<C extends Columns>(columns: C, options: TableOptions<C> = {}): Table<C> {
  return { columns, indexes: options.indexes ?? {}, old: options.old ?? false, local: false }
}

/** A table of this device: its rows are never uploaded, and a server's rows of that name are not shown in it. */
export function local<C extends Columns>(columns: C, options: Omit<TableOptions<C>, 'old'> = {}): Table<C> {
  return { ...table(columns, options), local: true }
}

/** Names are checked when a database is opened. */
export const defineSchema = <T extends Readonly<Record<string, Table>>>(tables: T): TypedSchema<T> => ({ tables })

/** As it is stored. */
export function storedSchema({ tables }: TypedSchema): StoreSchema {
  return { tables: Object.fromEntries(Object.entries(tables).map(([name, each]) => [name, storedTable(each)])) }
}

function storedTable({ columns, indexes, old, local: isLocal }: Table): StoreSchema['tables'][string] {
  return {
    columns: Object.fromEntries(
      Object.entries(columns).map(([name, { kind }]): [string, ColumnType] => [name, STORED[kind]]),
    ),
    indexes: Object.fromEntries(Object.entries(indexes).map(([name, on]): [string, string[]] => [name, [...on]])),
    old,
    ...(isLocal ? { local: true } : {}),
  }
}

/**
 * A value of a row as SQLite holds it. Throws ProblemError `value` when it is none of this column. `name`: for the
 * message.
 */
export function encode({ kind, isNullable }: AnyColumn, value: unknown, name: string): SqlValue {
  if (value === null || value === undefined) {
    if (isNullable) return null
    throw wrong(name, kind, value)
  }
  if (kind === 'json') return JSON.stringify(value)
  if ((kind === 'text' || kind === 'timestamp') && typeof value === 'string') return value
  if (kind === 'boolean' && typeof value === 'boolean') return value ? 1 : 0
  if (kind === 'integer' && typeof value === 'number' && Number.isSafeInteger(value)) return value
  if (kind === 'real' && typeof value === 'number' && Number.isFinite(value)) return value
  if (kind === 'bigint' && typeof value === 'bigint' && BigInt.asIntN(64, value) === value) return value
  throw wrong(name, kind, value)
}

const wrong = (name: string, kind: ColumnKind, value: unknown): ProblemError =>
  new ProblemError(
    'value',
    `${name} takes ${kind}, and ${value === null || value === undefined ? 'never NULL' : `not ${typeof value} ${String(value).slice(0, 50)}`}`,
  )

/**
 * A value of SQLite as a row shows it. What is none of the column's kind comes as SQLite holds it: a server may send
 * anything.
 */
export function decode(kind: ColumnKind, value: SqlValue): unknown {
  if (kind === 'boolean') return value === 1 ? true : value === 0 ? false : value
  if (kind === 'bigint') return typeof value === 'number' && Number.isInteger(value) ? BigInt(value) : value
  if (kind !== 'json' || typeof value !== 'string') return value
  try {
    const parsed: unknown = JSON.parse(value)
    return parsed
  } catch {
    return value
  }
}
