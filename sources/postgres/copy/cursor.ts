import type { CopyCursor } from '../../source.ts'
import type { CatalogTable } from '../types.ts'

/** How far the reading of a table is, as it is stored. */
export type PostgresCursor = {
  filenode: number
  /** Which of the table's parts is read. Absent: the first one. */
  part?: number
  /** Blocks of the part; of a table without a key classes of hashes. */
  block: number
  /** Of the block, from which it goes on; absent: from its beginning. */
  item?: number
  blocks: number
}

/** Other kinds' state never comes this far: see `fromStored`. */
export const postgresCursor = (cursor: CopyCursor): PostgresCursor => cursor as unknown as PostgresCursor

/** A table that is read part by part has come so far, 0 to 1. Without a key it is read as one. */
export function copyProgress(
  { key, parts }: Pick<CatalogTable, 'key' | 'parts'>,
  cursor: CopyCursor,
): { done: number; units: { done: number; of: number } } {
  const { part = 0, block = 0, blocks = 0 } = postgresCursor(cursor)
  const count = key.length === 0 ? 1 : parts.length
  const units = { done: block, of: blocks }
  if (count === 0) return { done: 1, units }
  return { done: Math.min(1, (part + (blocks === 0 ? 1 : block / blocks)) / count), units }
}
