import type { CatalogTable } from '../../../sources/postgres/index.ts'
import type { BatchTable } from './batch.ts'

/** A replicated table: our number for it and the catalog's description. */
export interface SourceTable extends BatchTable {
  catalog: CatalogTable
}
