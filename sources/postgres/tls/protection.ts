import type { Bytes } from './wire.ts'

/** A record as it came. */
export interface RawRecord {
  type: number
  header: Bytes
  body: Bytes
}

/** What was in it. */
export interface Content {
  type: number
  data: Bytes
}

/** One direction's keys. Records are numbered in the order in which they are asked for, so many may be under way at once. */
export interface Protection {
  /** Records that these keys were asked for. */
  readonly records: number
  /** Throws TlsError (bad_record_mac) for one that was changed, or is another than the next. */
  open(record: RawRecord): Promise<Content>
  /** A whole record, of at most MAX_PLAINTEXT bytes. */
  seal(type: number, data: Uint8Array): Promise<Bytes>
  /** The keys after a KeyUpdate. Null in TLS 1.2, which has none. */
  readonly next: (() => Promise<Protection>) | null
}
