import type { CopyCursor } from '../../source.ts'
import type { CatalogTable } from '../types.ts'

/** How far the copy of a table has come, as it is stored. */
export type PostgresCursor = {
  filenode: number
  /** The index of the table's part that is being read. Absent means the first one. */
  part?: number
  /** The next block of the part, or the next class of hashes for a table without a key. */
  block: number
  /** The next item in the block. Absent means its beginning. */
  item?: number
  blocks: number
}

/** The state of other kinds never gets here: see `fromStored`. */
export const postgresCursor = (cursor: CopyCursor): PostgresCursor => cursor as unknown as PostgresCursor

/** Returns how far a copy has come, 0 to 1. A table with a key is read part by part, one without as a whole. */
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
