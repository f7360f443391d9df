import type { TableDecoder, Tuple } from '../../postgres/index.ts'
import type { RowImage } from './row-state.ts'

/** Texts of a tuple by column; nulls and values that were not sent are left out. */
export function imageOf(decoder: TableDecoder, tuple: Tuple): RowImage {
  const image: RowImage = {}
  for (const [i, name] of decoder.columns.entries()) {
    const text = tuple[i]
    if (typeof text === 'string') image[name] = text
  }
  return image
}
