/**
 * An op id: an integer in 1 … 2^53-1, ordered over the whole tenant; 0 means "nothing". It is a decimal string on the
 * wire and a number inside Rockpool, because SQLite in a Durable Object neither binds nor returns bigints.
 */
export type OpId = number

/** An op as it appears in a `data` line (wire form). */
export type WireOp =
  | { op_id: string; op: 'PUT'; object_type: string; object_id: string; subkey: string; checksum: number; data: string }
  | {
      op_id: string
      op: 'REMOVE'
      object_type: string
      object_id: string
      subkey: string
      checksum: number
      data: null
    }
  | { op_id: string; op: 'MOVE'; checksum: number }
  | { op_id: string; op: 'CLEAR'; checksum: number }

/** What the sync config derives from a source row for one bucket, before it has an op id. */
export interface RowOp {
  op: 'PUT' | 'REMOVE'
  objectType: string
  objectId: string
  /** Distinguishes source rows that have the same (type, id) in one bucket. */
  subkey: string
  /** Unsigned 32 bits. */
  checksum: number
  /** JSON text of the row; null for a REMOVE. */
  data: string | null
}
