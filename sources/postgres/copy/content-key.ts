import { createHash } from 'node:crypto'
import type { Tuple } from '../types.ts'

/** Hexadecimal digits of a content hash that are kept. */
const DIGITS = 32

/**
 * Returns what identifies a row of a table without a key: a hash of the JSON array of its texts, in column order.
 * `contentHashSql` computes the same in SQL.
 */
export function contentHash(tuple: Tuple): string {
  const texts = tuple.map((text) => text ?? null)
  return createHash('sha256').update(JSON.stringify(texts)).digest('hex').slice(0, DIGITS)
}

/** Returns the SQL of a content hash. `texts` is the SQL of each column's text, which is null for NULL. */
export function contentHashSql(texts: readonly string[]): string {
  return `left(encode(sha256(convert_to(to_json(ARRAY[${texts.join(', ')}]::text[])::text, 'UTF8')), 'hex'), ${DIGITS}) COLLATE "C"`
}

/** The number of classes into which hashes are divided. A chunk of a copy is a range of classes. */
export const HASH_CLASSES = 65_536

/** Returns the smallest hash of a class, or null after the last class. */
export const classStart = (n: number): string | null => (n >= HASH_CLASSES ? null : n.toString(16).padStart(4, '0'))
