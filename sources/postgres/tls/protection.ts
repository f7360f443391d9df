import { Alert, violation } from './alerts.ts'
import type { Bytes } from './wire.ts'

/** A record as it arrived. */
export interface RawRecord {
  type: number
  header: Bytes
  body: Bytes
}

/** The content of a record. */
export interface Content {
  type: number
  data: Bytes
}

/** The keys of one direction. Records are numbered in the order of the calls, so many may be in progress at once. */
export interface Protection {
  /** The number of records for which these keys were used. */
  readonly records: number
  /**
   * Begins to decrypt the next record; `content` reads the result. Rejects for a record that was changed or is out of
   * order.
   */
  decrypt(record: RawRecord): Promise<ArrayBuffer>
  /** Throws TlsError for what a record must not hold. */
  content(record: RawRecord, plain: ArrayBuffer): Content
  /** Returns a whole record. `data` has at most MAX_PLAINTEXT bytes. */
  seal(type: number, data: Uint8Array): Promise<Bytes>
  /** Returns the keys after a KeyUpdate. Null in TLS 1.2, which has none. */
  readonly next: (() => Promise<Protection>) | null
}

/** Decrypts one record. Throws TlsError. */
export async function open(keys: Protection, record: RawRecord): Promise<Content> {
  let plain: ArrayBuffer
  try {
    plain = await keys.decrypt(record)
  } catch {
    changed()
  }
  return keys.content(record, plain)
}

/** RFC 8446 section 5.2: the reason is told to nobody. */
export function changed(): never {
  throw violation(Alert.badRecordMac, 'a record was changed in transit')
}
