import type { OpId, WireOp } from './ops.ts'

/**
 * Why a client has a bucket: `default` indexes the checkpoint's `streams`, `sub` the request's `streams.subscriptions`.
 */
export type BucketReason = { default: number } | { sub: number }

export interface BucketEntry {
  bucket: string
  /** Signed 32 bits. */
  checksum: number
  /** The number of stored ops; for progress only. */
  count: number
  /** 0 (most urgent) to 3. */
  priority: number
  subscriptions: BucketReason[]
}

export interface StreamEntry {
  name: string
  is_default: boolean
  errors: { subscription: 'default' | number; message: string }[]
}

/** A sync line: an object with exactly one key. Ids are decimal strings. */
export type SyncLine =
  | { checkpoint: { last_op_id: string; write_checkpoint?: string; buckets: BucketEntry[]; streams: StreamEntry[] } }
  | {
      checkpoint_diff: {
        last_op_id: string
        write_checkpoint?: string
        updated_buckets: BucketEntry[]
        removed_buckets: string[]
      }
    }
  | { data: { bucket: string; after: string; next_after: string; has_more: boolean; data: WireOp[] } }
  | { partial_checkpoint_complete: { last_op_id: string; priority: number } }
  | { checkpoint_complete: { last_op_id: string } }
  | { token_expires_in: number }

/** A `data` line whose ops are already text (see `opText`), joined by `,`. They are copied, not formatted again. */
export interface DataLine {
  bucket: string
  after: OpId
  next: OpId
  more: boolean
  ops: string
}

/**
 * A client's request: the body of `POST /sync/stream`, or `open` of the native WebSocket. Validated at the edge, where
 * members that are null are removed.
 */
export interface StreamRequest {
  /** The buckets that the client has: of each, every op ≤ `after`. */
  buckets?: { name: string; after: string }[] | undefined
  client_id?: string | undefined
  parameters?: Record<string, unknown> | undefined
  raw_data?: boolean | undefined
  app_metadata?: Record<string, string> | undefined
  streams?:
    | {
        include_defaults?: boolean | undefined
        subscriptions: {
          stream: string
          parameters: Record<string, unknown> | null
          override_priority: number | null
        }[]
      }
    | undefined
}
