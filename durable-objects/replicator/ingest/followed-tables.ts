import { TableDecoder, type PgoutputMessage } from '../../../sources/postgres/index.ts'
import type { SourceTable } from './source-table.ts'

/** Tables that are followed, by OID, and how the stream has described them. */
export class FollowedTables {
  readonly #tables: ReadonlyMap<number, SourceTable>
  readonly #decoders = new Map<number, TableDecoder>()
  readonly #altered = new Set<number>()
  readonly #lacking = new Set<number>()

  constructor(tables: ReadonlyMap<number, SourceTable>) {
    this.#tables = tables
  }

  table(oid: number): SourceTable | undefined {
    return this.#tables.get(oid)
  }

  /** Null: not followed, or its rows come without columns that the sync config names: evaluated so they would move out of their buckets. */
  of(oid: number): { table: SourceTable; decoder: TableDecoder } | null {
    const table = this.#tables.get(oid)
    const decoder = this.#decoders.get(oid)
    return table && decoder && !this.#lacking.has(oid) ? { table, decoder } : null
  }

  /** It was described otherwise than the catalog said. */
  isAltered(oid: number): boolean {
    return this.#altered.has(oid)
  }

  /** Changes of it are left out, so it must be compared. */
  isLacking(oid: number): boolean {
    return this.#lacking.has(oid)
  }

  /** False: it is not followed, or it is otherwise than the catalog said. */
  describe(m: Extract<PgoutputMessage, { type: 'relation' }>): boolean {
    const table = this.#tables.get(m.oid)
    if (!table) return false
    const names = m.columns.map((column) => column.name)
    this.#decoders.set(m.oid, new TableDecoder(table.catalog, names))
    if (table.catalog.named?.some((name) => !names.includes(name) && table.catalog.sent?.some((column) => column.name === name)))
      this.#lacking.add(m.oid)
    else this.#lacking.delete(m.oid)
    const described = m.columns.map((column) => `${column.name} ${column.typeOid}`).join()
    const known = (table.catalog.sent ?? table.catalog.columns).map((column) => `${column.name} ${column.typeOid}`).join()
    const same = described === known && m.schema === table.schema && m.name === table.name
    if (!same) this.#altered.add(m.oid)
    return same
  }
}
