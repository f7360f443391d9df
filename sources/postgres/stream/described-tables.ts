import type { PostgresTable } from '../postgres-table.ts'
import type { PgoutputMessage } from '../types.ts'
import { TableDecoder } from '../values/values.ts'

/** A followed table, and how its tuples are decoded now. */
export interface DescribedTable {
  table: PostgresTable
  decoder: TableDecoder
  /** True when the stream's description differs from the catalog's. */
  altered: boolean
}

/** The followed tables by OID, as the stream has described them. */
export class DescribedTables {
  readonly #tables: ReadonlyMap<number, PostgresTable>
  readonly #described = new Map<number, DescribedTable>()
  readonly #altered = new Set<number>()

  constructor(tables: readonly PostgresTable[]) {
    this.#tables = new Map(tables.map((table) => [table.catalog.oid, table]))
  }

  table(oid: number): PostgresTable | undefined {
    return this.#tables.get(oid)
  }

  /**
   * Undefined: not followed, or its rows come without columns that the sync config names: evaluated so they would move
   * out of their buckets.
   */
  of(oid: number): DescribedTable | undefined {
    return this.#described.get(oid)
  }

  /** `expected`: it is as the catalog said. `lacking`: changes of it are left out, so it must be compared. */
  describe(m: Extract<PgoutputMessage, { type: 'relation' }>): {
    table: PostgresTable | null
    expected: boolean
    lacking: boolean
  } {
    const table = this.#tables.get(m.oid)
    if (!table) return { table: null, expected: false, lacking: false }
    const { sent, named, columns } = table.catalog
    const names = m.columns.map((column) => column.name)
    const described = m.columns.map((column) => `${column.name} ${column.typeOid}`).join()
    const known = (sent ?? columns).map((column) => `${column.name} ${column.typeOid}`).join()
    const expected = described === known && m.schema === table.schema && m.name === table.name
    if (!expected) this.#altered.add(m.oid)
    const lacking =
      named?.some((name) => !names.includes(name) && sent?.some((column) => column.name === name)) ?? false
    if (lacking) this.#described.delete(m.oid)
    else
      this.#described.set(m.oid, {
        table,
        decoder: new TableDecoder(table.catalog, names),
        altered: this.#altered.has(m.oid),
      })
    return { table, expected, lacking }
  }
}
