import { TableDecoder, type PgoutputMessage } from '../../postgres/index.ts'
import type { SourceTable } from './intake.ts'

/** Tables that are followed, by OID, and how the stream has described them. */
export class FollowedTables {
  readonly #tables: ReadonlyMap<number, SourceTable>
  readonly #decoders = new Map<number, TableDecoder>()
  readonly #altered = new Set<number>()

  constructor(tables: ReadonlyMap<number, SourceTable>) {
    this.#tables = tables
  }

  table(oid: number): SourceTable | undefined {
    return this.#tables.get(oid)
  }

  /** Null: not followed. */
  of(oid: number): { table: SourceTable; decoder: TableDecoder } | null {
    const table = this.#tables.get(oid)
    const decoder = this.#decoders.get(oid)
    return table && decoder ? { table, decoder } : null
  }

  /** It was described otherwise than the catalog said. */
  isAltered(oid: number): boolean {
    return this.#altered.has(oid)
  }

  /** False: it is not followed, or it is otherwise than the catalog said. */
  describe(m: Extract<PgoutputMessage, { type: 'relation' }>): boolean {
    const table = this.#tables.get(m.oid)
    if (!table) return false
    const names = m.columns.map((column) => column.name)
    this.#decoders.set(m.oid, new TableDecoder(table.catalog, names))
    const described = m.columns.map((column) => `${column.name} ${column.typeOid}`).join()
    const known = table.catalog.columns.map((column) => `${column.name} ${column.typeOid}`).join()
    const same = described === known && m.schema === table.schema && m.name === table.name
    if (!same) this.#altered.add(m.oid)
    return same
  }
}
