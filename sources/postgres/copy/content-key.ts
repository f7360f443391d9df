import { createHash } from 'node:crypto'
import type { Tuple } from '../types.ts'

/** Hexadecimal digits of a content hash that are kept. */
const DIGITS = 32

/**
 * Rows of a table without a key are told apart by all they hold: a hash of the JSON array of their texts, in column order. `contentHashSql` is
 * the same in SQL.
 */
export function contentHash(tuple: Tuple): string {
  const texts = tuple.map((text) => text ?? null)
  return createHash('sha256').update(JSON.stringify(texts)).digest('hex').slice(0, DIGITS)
}

/** `texts`: SQL of each column's text, null for null. */
export function contentHashSql(texts: readonly string[]): string {
  return `left(encode(sha256(convert_to(to_json(ARRAY[${texts.join(', ')}]::text[])::text, 'UTF8')), 'hex'), ${DIGITS}) COLLATE "C"`
}

/** Classes of hashes: a chunk of a copy is a run of them. */
export const HASH_CLASSES = 65_536

/** The smallest hash of a class; null behind the last one. */
export const classStart = (n: number): string | null => (n >= HASH_CLASSES ? null : n.toString(16).padStart(4, '0'))
