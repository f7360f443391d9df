import { ValueFailure, type DeferredValue, type SourceRow, type SourceValue } from '../../../protocol/values.ts'
import { contentHash } from '../copy/content-key.ts'
import { LargeValue } from '../copy/large-value.ts'
import { decodeValue } from './value.ts'
import type { CatalogTable, ColumnType, Tuple } from '../types.ts'

/** Decodes tuples of one table, in a given column order, into rows and keys. */
export class TableDecoder {
  /** Column names in tuple order. */
  readonly columns: readonly string[]
  readonly #types: (ColumnType | undefined)[]
  readonly #key: number[]
  /** For a table without a key, the positions of its columns in a tuple. */
  readonly #content: number[] | null

  /** Rows leave out columns that the catalog does not have, or no longer has. */
  constructor(table: CatalogTable, columns: readonly string[]) {
    this.columns = columns
    const types = new Map(table.columns.map((column) => [column.name, column.type]))
    this.#types = columns.map((name) => types.get(name))
    this.#key = table.key.map((name) => columns.indexOf(name))
    this.#content = table.key.length > 0 ? null : table.columns.map((column) => columns.indexOf(column.name))
  }

  /** Returns true when the column at this position of a tuple is read. */
  reads(i: number): boolean {
    return this.#types[i] !== undefined
  }

  /**
   * Decodes a row. `missing` names columns that are null in it because Postgres left out a value that is stored out of
   * line and did not change.
   */
  row(tuple: Tuple): { row: SourceRow; missing: string[] } {
    const row: SourceRow = {}
    const missing: string[] = []
    for (let i = 0; i < this.columns.length; i++) {
      const name = this.columns[i]
      const type = this.#types[i]
      if (name === undefined || type === undefined) continue
      const text = tuple[i]
      if (text === undefined) missing.push(name)
      // A missing column keeps its place, so that data has its columns in one order, however the row arrived.
      row[name] = text === undefined ? null : text instanceof LargeValue ? refused(text) : decode(type, text)
    }
    return { row, missing }
  }

  /** Decodes the values of some columns from their texts. */
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
   * Returns a canonical JSON array of the key columns' texts, or of the hash of all values for a table without a key. A
   * long key that is stored out of line is "unchanged" in the new tuple although it is the key, so it is taken from the
   * old one.
   */
  key(tuple: Tuple, keyTuple?: Tuple): string {
    const content = this.#content
    if (content)
      return JSON.stringify([
        contentHash(content.map((i) => tuple[i] ?? (tuple[i] === undefined ? keyTuple?.[i] : null))),
      ])
    return JSON.stringify(this.#key.map((i) => tuple[i] ?? (tuple[i] === undefined ? keyTuple?.[i] : null) ?? null))
  }
}

/** Returns a value that throws the reason when it is resolved. */
const refused = (large: LargeValue): DeferredValue => ({
  resolve() {
    throw new ValueFailure(large.reason)
  },
})

const decode = (type: ColumnType, text: string | null): SourceValue => (text === null ? null : decodeValue(type, text))
