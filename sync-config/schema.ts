import { astVisitor, type PGNode, type SelectFromStatement } from 'pgsql-ast-parser'
import type { SourceTable } from './editions/buckets/table.ts'
import type { Column, TablePattern } from './plan/plan.ts'
import { closest, suggestion } from '../protocol/closest.ts'
import type { Sql } from './parse/sql.ts'

/** Values of different kinds are never equal. */
export type ValueKind = 'number' | 'text' | 'bytes'

export interface ColumnKind {
  /** As Postgres calls the type. */
  name: string
  kind: ValueKind
}

/** Tables of the source for warnings about names that do not exist. */
export interface SourceSchema {
  tables: SchemaTable[]
}

export interface SchemaTable {
  schema: string
  name: string
  columns: string[]
  /** Columns of its key. */
  key?: readonly string[]
  /** Columns whose values are always of one kind, with the names of their types. */
  types?: Readonly<Record<string, ColumnKind>>
}

/**
 * Checks names against the source's tables. Names that are not there are warnings, because a table may be made later.
 */
export class SchemaCheck {
  readonly #tables: SourceSchema['tables']

  constructor(schema: SourceSchema) {
    this.#tables = schema.tables
  }

  hasTable(name: string): boolean {
    return this.#tables.some((table) => table.name === name)
  }

  checkTable(sql: Sql, pattern: TablePattern, node: PGNode): void {
    if (this.#matching(pattern).length > 0) return
    const nearest = closest(
      pattern.name,
      this.#tables.filter((table) => table.schema === pattern.schema).map((table) => table.name),
    )
    sql.warning(
      'unknown-source-table',
      `The source has no table ${pattern.schema}.${pattern.name}${pattern.wildcard ? '%' : ''}.${suggestion(nearest)}`,
      node,
    )
  }

  checkColumn(sql: Sql, pattern: TablePattern, column: string, node: PGNode): void {
    const tables = this.#matching(pattern)
    if (tables.length === 0 || column === '_table_suffix' || tables.some((table) => table.columns.includes(column)))
      return
    const nearest = closest(
      column,
      tables.flatMap((table) => table.columns),
    )
    sql.warning('unknown-source-column', `${pattern.name} has no column ${column}.${suggestion(nearest)}`, node)
  }

  /** Of a column that all these tables have in the same type; null when that is not known. */
  typeOf(pattern: TablePattern, column: string): ColumnKind | null {
    const [first, ...more] = this.#matching(pattern).map(({ types }) =>
      types && Object.hasOwn(types, column) ? types[column] : undefined,
    )
    return first && more.every((type) => type?.name === first.name) ? first : null
  }

  /** `*` is to bring the id of the row. Where the table is there and has none, no row would ever be synced. */
  checkId(sql: Sql, pattern: TablePattern, star: PGNode): void {
    const tables = this.#matching(pattern)
    if (tables.length === 0 || tables.some((table) => table.columns.includes('id'))) return
    const key = tables[0]?.key ?? []
    const value = key.length === 0 ? '…' : key.map(written).join(" || '/' || ")
    sql.error(
      'id-missing',
      `${pattern.name} has no column id, by which a client tells rows apart: select one, \`*, ${value} AS id\`.`,
      star,
    )
  }

  /** What a query gives to clients: bytes, which none is sent, are left out of it. */
  checkBytes(sql: Sql, pattern: TablePattern, columns: readonly Column[], select: SelectFromStatement): void {
    const types = this.#matching(pattern).flatMap((table) => Object.entries(table.types ?? {}))
    const bytes = new Map(
      types.filter(([, { kind }]) => kind === 'bytes').map(([name, { name: type }]) => [name, type]),
    )
    /** By the name on the client: the column, where its bytes are left out. */
    const out = new Map<string, string | null>()
    for (const column of columns) {
      if (!('all' in column)) {
        out.set(column.name, column.expr[0] === 'column' && bytes.has(column.expr[1]) ? column.expr[1] : null)
        continue
      }
      const { hidden, fill } = column.all
      for (const name of bytes.keys())
        if ((hidden || !name.startsWith('_')) && !(fill && out.has(name))) out.set(name, name)
    }
    for (const [name, column] of out) {
      if (column === null) continue
      const node = select.columns?.find(
        ({ alias, expr }) => (alias?.name ?? (expr.type === 'ref' ? expr.name : '')) === name,
      )
      sql.warning(
        'bytes-left-out',
        `${pattern.name}.${column} (${bytes.get(column)}) is left out, because clients are sent no bytes: write hex(${written(column)}) AS ${written(name)}, or base64(…).`,
        node?.expr ?? select.columns?.[0]?.expr ?? select,
      )
    }
  }

  /** A single-table query: the table, and columns that are plainly selected. Others are checked where they are read. */
  checkQuery(sql: Sql, table: SourceTable, select: SelectFromStatement): void {
    this.checkTable(sql, table.pattern, table.node)
    const star = select.columns?.find(({ expr }) => expr.type === 'ref' && expr.name === '*')
    if (star && !select.columns?.some(({ alias }) => alias?.name === 'id')) this.checkId(sql, table.pattern, star)
    this.#checkColumns(sql, table, select)
  }

  /**
   * Columns of the table that the query reads. Names of other things (`bucket.x`, a CTE, elements of an array) are
   * qualified.
   */
  #checkColumns(sql: Sql, table: SourceTable, select: SelectFromStatement): void {
    const visitor = astVisitor(() => ({
      ref: (ref) => {
        const ours = ref.table === undefined || ref.table.name === table.name
        if (ours && ref.name !== '*') this.checkColumn(sql, table.pattern, ref.name, ref)
      },
      // A subselect reads another table, and its own query is checked.
      select: () => {},
    }))
    for (const { expr } of select.columns ?? []) visitor.expr(expr)
    if (select.where) visitor.expr(select.where)
  }

  #matching(pattern: TablePattern): SourceSchema['tables'] {
    return this.#tables.filter(
      (table) =>
        table.schema === pattern.schema &&
        (pattern.wildcard ? table.name.startsWith(pattern.name) : table.name === pattern.name),
    )
  }
}

/** A column as SQL. */
const written = (name: string) => (/^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name}"`)
