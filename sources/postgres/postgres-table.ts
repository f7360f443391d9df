import type { CopyCursor, RowImage, SourceTable } from '../source.ts'
import { copyProgress } from './copy/cursor.ts'
import type { CatalogTable } from './types.ts'
import { TableDecoder } from './values/values.ts'

/** A table of Postgres as the port has it. */
export class PostgresTable implements SourceTable {
  readonly catalog: CatalogTable
  /** Of tuples as they are read. */
  readonly decoder: TableDecoder
  readonly keys: string

  constructor(catalog: CatalogTable) {
    this.catalog = catalog
    this.decoder = new TableDecoder(
      catalog,
      catalog.columns.map(({ name }) => name),
    )
    this.keys = JSON.stringify(catalog.key.map((name) => [name, catalog.columns.find((column) => column.name === name)?.type]))
  }

  get schema(): string {
    return this.catalog.schema
  }

  get name(): string {
    return this.catalog.name
  }

  get names(): CatalogTable['names'] {
    return this.catalog.names
  }

  get fingerprint(): string {
    return this.catalog.fingerprint
  }

  get counted(): boolean {
    return this.catalog.key.length === 0
  }

  /** Under identity FULL the old row comes along with every change. */
  get keepsImages(): boolean {
    return this.catalog.identity !== 'f'
  }

  progress(cursor: CopyCursor): ReturnType<SourceTable['progress']> {
    return copyProgress(this.catalog, cursor)
  }

  readImage(image: RowImage): RowImage {
    const texts = Object.entries(image)
    const read = texts.filter(([name]) => this.catalog.columns.some((column) => column.name === name))
    return read.length === texts.length ? image : Object.fromEntries(read)
  }
}

/** The table behind one that was given out: nobody else makes tables of this kind. */
export function postgresTable(table: SourceTable): PostgresTable {
  if (table instanceof PostgresTable) return table
  throw new Error(`${table.schema}.${table.name} is a table of another kind of source`)
}
