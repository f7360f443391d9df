import type { CopyCursor, RowImage, SourceTable } from '../source.ts'
import { copyProgress } from './copy/cursor.ts'
import type { CatalogTable } from './types.ts'
import { TableDecoder } from './values/values.ts'

/** A table of Postgres behind the port. */
export class PostgresTable implements SourceTable {
  readonly catalog: CatalogTable
  /** Decodes tuples as they are copied. */
  readonly decoder: TableDecoder
  readonly keys: string

  constructor(catalog: CatalogTable) {
    this.catalog = catalog
    this.decoder = new TableDecoder(
      catalog,
      catalog.columns.map(({ name }) => name),
    )
    this.keys = JSON.stringify(
      catalog.key.map((name) => [name, catalog.columns.find((column) => column.name === name)?.type]),
    )
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

  /** False under identity FULL, where every change carries the old row. */
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

/** Returns the Postgres table behind a table of the port. Throws when it is of another kind. */
export function postgresTable(table: SourceTable): PostgresTable {
  if (table instanceof PostgresTable) return table
  throw new Error(`${table.schema}.${table.name} is a table of another kind of source`)
}
