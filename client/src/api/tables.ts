import { ProblemError } from '../core/problem.ts'
import type { BoundStatement, LocalTransaction } from '../core/database/port.ts'
import { uuid7 } from '../core/outbox/uuid.ts'
import { encode, type AnyColumn, type InsertOf, type PatchOf, type RowOf, type TypedSchema } from '../schema.ts'
import { identifier } from '../sqlite/sqlite.ts'
import type { SqlValue } from '../types.ts'
import { rowMaker } from './rows.ts'

/** Rows of one table, inside a write. */
export interface TransactionTable<S extends TypedSchema, T extends keyof S['tables']> {
  /** Answers the id. Without one in the row it is a new UUID, and those made later sort later. */
  insert(row: InsertOf<S, T>): Promise<string>
  /** Answers the number of rows that there were: 0 or 1. */
  update(id: string, patch: PatchOf<S, T>): Promise<number>
  /** Answers the number of rows that there were: 0 or 1. */
  delete(id: string): Promise<number>
  get(id: string): Promise<RowOf<S, T> | null>
}

export function transactionTable<S extends TypedSchema, T extends keyof S['tables'] & string>(
  schema: S,
  name: T,
  tx: LocalTransaction,
): TransactionTable<S, T> {
  const run = async (statement: BoundStatement): Promise<number> =>
    (await tx.execute(statement.sql, statement.params)).changes
  return {
    async insert(row) {
      const { id, ...statement } = insertOf(schema, name, row)
      await run(statement)
      return id
    },
    update: (id, patch) => run(updateOf(schema, name, id, patch)),
    delete: (id) => run(deleteOf(name, id)),
    async get(id) {
      const { rows, columns } = await tx.query(selectById(schema, name), [id])
      const [row] = rows
      return row ? (rowMaker(schema, columns)(row) as RowOf<S, T>) : null
    },
  }
}

const columnsOf = ({ tables }: TypedSchema, name: string): Record<string, AnyColumn> => ({ ...tables[name]?.columns })

/** Throws ProblemError `value`; so do the others. */
export function insertOf(schema: TypedSchema, name: string, row: object): BoundStatement & { id: string } {
  const columns = columnsOf(schema, name)
  const { id = uuid7(Date.now()), ...given }: { id?: string } & Record<string, unknown> = { ...row }
  checkNames(name, columns, given)
  const values = Object.entries(columns).map(([column, each]) =>
    encode(each, valueOf(each, given[column]), `${name}.${column}`),
  )
  const list = ['id', ...Object.keys(columns)].map(identifier).join(', ')
  const places = ['id', ...values].map(() => '?').join(', ')
  return { id, sql: `INSERT INTO ${identifier(name)} (${list}) VALUES (${places})`, params: [id, ...values] }
}

export function updateOf(schema: TypedSchema, name: string, id: string, patch: object): BoundStatement {
  const columns = columnsOf(schema, name)
  const given: Record<string, unknown> = { ...patch }
  checkNames(name, columns, given)
  const changes = Object.entries(given).filter(([, value]) => value !== undefined)
  const values = changes.map(([column, value]): SqlValue => {
    const each = columns[column]
    if (!each) throw unknown(name, column)
    return encode(each, value, `${name}.${column}`)
  })
  // Without a change it still counts the row.
  const set = changes.length === 0 ? ['id = id'] : changes.map(([column]) => `${identifier(column)} = ?`)
  return { sql: `UPDATE ${identifier(name)} SET ${set.join(', ')} WHERE id = ?`, params: [...values, id] }
}

export const deleteOf = (name: string, id: string): BoundStatement => ({
  sql: `DELETE FROM ${identifier(name)} WHERE id = ?`,
  params: [id],
})

/** Columns by their names: the file may have more than the schema. */
export function selectById({ tables }: TypedSchema, name: string): string {
  const list = ['id', ...Object.keys(tables[name]?.columns ?? {})].map(identifier).join(', ')
  return `SELECT ${list} FROM ${identifier(name)} WHERE id = ?`
}

/** A column that is left out has what it is given. */
const valueOf = ({ given }: AnyColumn, value: unknown): unknown => (value === undefined && given ? given() : value)

function checkNames(table: string, columns: Record<string, AnyColumn>, given: Record<string, unknown>): void {
  for (const column of Object.keys(given)) if (!Object.hasOwn(columns, column)) throw unknown(table, column)
}

const unknown = (table: string, column: string): ProblemError =>
  new ProblemError('value', `${table} has no column ${column} that can be written`)
