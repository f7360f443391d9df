import { ProblemError } from '../core/problem.ts'
import type { LocalTransaction } from '../core/database/local-write.ts'
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
  const columns: Record<string, AnyColumn> = { ...schema.tables[name]?.columns }
  const quoted = identifier(name)
  return {
    async insert(row) {
      const { id = uuid7(Date.now()), ...given }: { id?: string } & Record<string, unknown> = { ...row }
      checkNames(name, columns, given)
      const values = Object.entries(columns).map(([column, each]) =>
        encode(each, valueOf(each, given[column]), `${name}.${column}`),
      )
      const list = ['id', ...Object.keys(columns)].map(identifier).join(', ')
      await tx.execute(`INSERT INTO ${quoted} (${list}) VALUES (${['id', ...values].map(() => '?').join(', ')})`, [
        id,
        ...values,
      ])
      return id
    },
    async update(id, patch) {
      const given: Record<string, unknown> = { ...patch }
      checkNames(name, columns, given)
      const changes = Object.entries(given).filter(([, value]) => value !== undefined)
      if (changes.length === 0) return (await get(tx, schema, name, id)) === null ? 0 : 1
      const values = changes.map(([column, value]): SqlValue => {
        const each = columns[column]
        if (!each) throw unknown(name, column)
        return encode(each, value, `${name}.${column}`)
      })
      const set = changes.map(([column]) => `${identifier(column)} = ?`).join(', ')
      return (await tx.execute(`UPDATE ${quoted} SET ${set} WHERE id = ?`, [...values, id])).changes
    },
    async delete(id) {
      return (await tx.execute(`DELETE FROM ${quoted} WHERE id = ?`, [id])).changes
    },
    get: async (id) => (await get(tx, schema, name, id)) as RowOf<S, T> | null,
  }
}

async function get(
  tx: Pick<LocalTransaction, 'query'>,
  schema: TypedSchema,
  name: string,
  id: string,
): Promise<Record<string, unknown> | null> {
  const { rows, statement } = await tx.query(selectById(schema, name), [id])
  const [row] = rows
  return row ? rowMaker(schema, statement.columns())(row) : null
}

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
