import type { RowImage } from '../../source.ts'
import type { Tuple } from '../types.ts'
import type { TableDecoder } from '../values/values.ts'

/** Returns the texts of a tuple by column, without nulls, values that were not sent and columns that nobody reads. */
export function imageOf(decoder: TableDecoder, tuple: Tuple): RowImage {
  const image: Record<string, string> = {}
  for (const [i, name] of decoder.columns.entries()) {
    const text = tuple[i]
    if (typeof text === 'string' && decoder.reads(i)) image[name] = text
  }
  return image
}

/**
 * Rows whose texts are shorter together are not stored out of line by Postgres's default settings, so nothing is left
 * out of them.
 */
const IMAGE_LENGTH = 500
/** A shorter value is never stored out of line, because the pointer to it would be larger. */
const IMAGE_VALUE_LENGTH = 16
/** Bytes as JSON in UTF-8: a stored value takes 2 MB. What a later change of a larger row leaves out is read again. */
const MAX_IMAGE_BYTES = 1_900_000

/** What is stored of a row. `found`: texts of columns that its tuple lacks. */
export function keptImage(decoder: TableDecoder, tuple: Tuple, found: RowImage = {}): RowImage | null {
  let length = 0
  for (const [i, text] of tuple.entries()) length += typeof text === 'string' && decoder.reads(i) ? text.length : 0
  for (const name in found) length += found[name]?.length ?? 0
  if (length <= IMAGE_LENGTH) return null
  const entries = Object.entries({ ...imageOf(decoder, tuple), ...found })
  const image = Object.fromEntries(entries.filter(([, text]) => text.length > IMAGE_VALUE_LENGTH))
  // A UTF-16 unit takes up to six bytes of JSON.
  return length > MAX_IMAGE_BYTES / 6 && Buffer.byteLength(JSON.stringify(image)) > MAX_IMAGE_BYTES ? null : image
}
