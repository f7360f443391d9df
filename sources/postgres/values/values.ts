import { ValueFailure, type DeferredValue, type SourceRow, type SourceValue } from '../../../protocol/values.ts'
import { contentHash } from '../copy/content-key.ts'
import { LargeValue } from '../copy/large-value.ts'
import { decodeValue } from './value.ts'
import type { CatalogTable, ColumnType, Tuple } from '../types.ts'

/** Tuples of one table, in a given order of columns, as rows and keys. */
export class TableDecoder {
  /** Names in tuple order. */
  readonly columns: readonly string[]
  readonly #types: (ColumnType | undefined)[]
  readonly #key: number[]
  /** Without a key: where the columns of the table stand in a tuple. */
  readonly #content: number[] | null

  /** Columns that the catalog does not know (any more) are left out of rows. */
  constructor(table: CatalogTable, columns: readonly string[]) {
    this.columns = columns
    const types = new Map(table.columns.map((column) => [column.name, column.type]))
    this.#types = columns.map((name) => types.get(name))
    this.#key = table.key.map((name) => columns.indexOf(name))
    this.#content = table.key.length > 0 ? null : table.columns.map((column) => columns.indexOf(column.name))
  }

  /** Whether the column at this place of a tuple is one of those that are read. */
  reads(i: number): boolean {
    return this.#types[i] !== undefined
  }

  /** `missing`: columns whose value Postgres left out because it is stored out of line and did not change; null in the row. */
  row(tuple: Tuple): { row: SourceRow; missing: string[] } {
    const row: SourceRow = {}
    const missing: string[] = []
    for (let i = 0; i < this.columns.length; i++) {
      const name = this.columns[i]
      const type = this.#types[i]
      if (name === undefined || type === undefined) continue
      const text = tuple[i]
      if (text === undefined) missing.push(name)
      // What is missing has its place: data has the columns of a row in one order, however the row came.
      row[name] = text === undefined ? null : text instanceof LargeValue ? refused(text) : decode(type, text)
    }
    return { row, missing }
  }

  /** Values of some columns only, by their texts. */
  values(texts: Readonly<Record<string, string>>): SourceRow {
    const row: SourceRow = {}
    for (const [i, name] of this.columns.entries()) {
      const text = texts[name]
      const type = this.#types[i]
      if (text !== undefined && type !== undefined) row[name] = decode(type, text)
    }
    return row
  }

  /**
   * Canonical JSON array of the key columns' texts. A long key that is stored out of line is "unchanged" in the new tuple although it is the
   * key: it is taken from the old one. Without a key the hash of all values stands for it.
   */
  key(tuple: Tuple, keyTuple?: Tuple): string {
    const content = this.#content
    if (content) return JSON.stringify([contentHash(content.map((i) => tuple[i] ?? (tuple[i] === undefined ? keyTuple?.[i] : null)))])
    return JSON.stringify(this.#key.map((i) => tuple[i] ?? (tuple[i] === undefined ? keyTuple?.[i] : null) ?? null))
  }
}

/** Whoever wants to know it is told why nobody can. */
const refused = (large: LargeValue): DeferredValue => ({
  resolve() {
    throw new ValueFailure(large.reason)
  },
})

const decode = (type: ColumnType, text: string | null): SourceValue => (text === null ? null : decodeValue(type, text))
