import { matchesTable } from '../sync-config/index.ts'
import { contentOf, type Column, type DataQuery } from '../sync-config/plan/plan.ts'
import type { Expr } from '../sync-config/expressions/expression.ts'
import type { Plan } from '../sync-config/types.ts'
import type { DeviceKind, TypedTable } from '../sources/postgres/index.ts'

// Which tables a sync config makes on a device, and what their columns are.

export interface DeviceColumn {
  name: string
  kind: Exclude<DeviceKind, 'none'>
  nullable: boolean
  /** The expression of the default in Postgres, or null. */
  preset: string | null
  /** A note for the reader of the schema, or null. */
  note: string | null
}

export interface DeviceTable {
  name: string
  columns: DeviceColumn[]
}

/** Returns the tables in the order of the sync config. `missing`: tables of it that the database does not have. */
export function deviceTables(plan: Plan, source: readonly TypedTable[]): { tables: DeviceTable[]; missing: string[] } {
  const tables = new Map<string, DeviceTable>()
  const missing = new Set<string>()
  for (const query of contentOf(plan).definitions.flatMap(({ queries }) => queries)) {
    const found = source.filter((table) => matchesTable(query.table, table))
    if (found.length === 0) missing.add(`${query.table.schema}.${query.table.name}${query.table.wildcard ? '%' : ''}`)
    for (const table of found) {
      const name = query.output ?? table.name
      const columns = columnsOf(query, table)
      const known = tables.get(name)
      tables.set(name, { name, columns: known === undefined ? columns : joined(known.columns, columns) })
    }
  }
  return { tables: [...tables.values()], missing: [...missing] }
}

/** As rows are evaluated: a later column replaces an earlier one of the same name. The id is not among them. */
function columnsOf(query: DataQuery, table: TypedTable): DeviceColumn[] {
  const columns = new Map<string, DeviceColumn>()
  const add = (column: DeviceColumn | null): void => void (column !== null && columns.set(column.name, column))
  for (const column of query.columns) {
    if (!('all' in column)) {
      columns.delete(column.name)
      add(made(column, table))
      continue
    }
    const { hidden, fill } = column.all
    for (const { name } of table.columns)
      if ((hidden || !name.startsWith('_')) && !(fill && columns.has(name))) add(copied(name, name, table))
  }
  columns.delete('id')
  return [...columns.values()]
}

function made({ name, expr }: Extract<Column, { expr: Expr }>, table: TypedTable): DeviceColumn | null {
  if (expr[0] === 'column') return copied(name, expr[1], table)
  const fixed: Partial<Record<Expr[0], DeviceColumn['kind']>> = {
    int: 'integer',
    real: 'real',
    text: 'text',
    meta: 'text',
  }
  const kind = fixed[expr[0]]
  if (kind !== undefined) return { name, kind, nullable: false, preset: null, note: null }
  return { name, kind: 'text', nullable: true, preset: null, note: 'an expression: say what it is' }
}

/** Null for a column whose values have no form on a device: it is not there. */
function copied(name: string, of: string, table: TypedTable): DeviceColumn | null {
  const column = table.columns.find((each) => each.name === of)
  if (column === undefined)
    return { name, kind: 'text', nullable: true, preset: null, note: `there is no column ${table.name}.${of}` }
  const { kind, nullable, preset, generated } = column
  if (kind === 'none') return null
  // Before the server has answered, a row that was made on the device has no value there.
  if (generated) return { name, kind, nullable: true, preset: null, note: 'Postgres computes it' }
  return { name, kind, nullable, preset, note: null }
}

/** Rows of several queries are in one table: what only some of them have may be NULL. */
function joined(first: readonly DeviceColumn[], second: readonly DeviceColumn[]): DeviceColumn[] {
  const names = [...new Set([...first, ...second].map(({ name }) => name))]
  return names.map((name): DeviceColumn => {
    const [a, b] = [first, second].map((columns) => columns.find((each) => each.name === name))
    if (a === undefined || b === undefined) return { ...(a ?? b ?? never(name)), nullable: true }
    const same = a.kind === b.kind
    return {
      ...a,
      kind: same ? a.kind : 'text',
      nullable: a.nullable || b.nullable,
      preset: a.preset === b.preset ? a.preset : null,
      note: same ? (a.note ?? b.note) : `${a.kind} in one query, ${b.kind} in another`,
    }
  })
}

function never(name: string): never {
  throw new Error(`no query has ${name}`)
}
