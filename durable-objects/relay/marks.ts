import { createHmac } from 'node:crypto'

/** An attachment may have 16,384 bytes: 950 marks of 16 bytes leave room for the rest. */
export const MAX_MARKS = 950
const MARK_BYTES = 16

/**
 * Attachments identify buckets by 128 bits of an HMAC-SHA-256 of their names. Each relay has its own key. It is made
 * when the relay starts without sockets, and is kept in the attachments themselves, so that their marks can be computed
 * for as long as there are any. It is sent to nobody.
 */
export class Marks {
  readonly key: Uint8Array

  constructor(key: Uint8Array = crypto.getRandomValues(new Uint8Array(32))) {
    this.key = key
  }

  isBy(key: Uint8Array): boolean {
    return Buffer.compare(this.key, key) === 0
  }

  /** Marks are strings with one character for each byte. */
  of(name: string): string {
    return createHmac('sha256', this.key).update(name).digest().toString('latin1', 0, MARK_BYTES)
  }
}

export function packMarks(marks: readonly string[]): Uint8Array | null {
  return marks.length > MAX_MARKS ? null : new Uint8Array(Buffer.from(marks.join(''), 'latin1'))
}

export function unpackMarks(packed: Uint8Array): string[] {
  const text = Buffer.from(packed).toString('latin1')
  return Array.from({ length: text.length / MARK_BYTES }, (_, i) => text.slice(i * MARK_BYTES, (i + 1) * MARK_BYTES))
}
