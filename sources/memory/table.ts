import type { TableName } from '../../protocol/tables.ts'
import type { CopyCursor, RowImage, SourceTable } from '../source.ts'
import type { MemoryTableInfo } from './database.ts'

/** `read` rows have been read, `of` those that the table had when the copy began. */
export type MemoryCursor = { after: string; read: number; of: number }

export class MemoryTable implements SourceTable {
  readonly info: MemoryTableInfo
  readonly schema: string
  readonly name: string
  readonly names: readonly TableName[]
  readonly keys: string
  readonly counted: boolean
  readonly fingerprint: string

  constructor(info: MemoryTableInfo) {
    this.info = info
    this.schema = info.schema
    this.name = info.name
    this.names = [{ schema: info.schema, name: info.name }]
    this.keys = info.key.join()
    this.counted = info.key.length === 0
    this.fingerprint = JSON.stringify(info)
  }

  progress(cursor: CopyCursor): ReturnType<SourceTable['progress']> {
    const { read, of } = cursor as MemoryCursor
    return { done: of === 0 ? 1 : Math.min(1, read / of), units: { done: read, of } }
  }

  readImage(image: RowImage): RowImage {
    return image
  }
}

/** Returns the memory table behind a table of the port. Throws when it is of another kind. */
export function memoryTable(table: SourceTable): MemoryTable {
  if (table instanceof MemoryTable) return table
  throw new Error(`${table.schema}.${table.name} is a table of another kind of source`)
}
