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
  /** Decrypts a record. Throws TlsError (bad_record_mac) for one that was changed or is out of order. */
  open(record: RawRecord): Promise<Content>
  /** Returns a whole record. `data` has at most MAX_PLAINTEXT bytes. */
  seal(type: number, data: Uint8Array): Promise<Bytes>
  /** Returns the keys after a KeyUpdate. Null in TLS 1.2, which has none. */
  readonly next: (() => Promise<Protection>) | null
}
