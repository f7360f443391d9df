import type { DataLine, StreamRequest, SyncLine } from '../../protocol/lines.ts'
import type { Gone, Overtaken, ReadAnswer, RowsAnswer } from '../../protocol/messages/bucket.ts'
import type { RelayFrame, SubscribeFrame } from '../../protocol/messages/relay.ts'
import type { OpId } from '../../protocol/ops.ts'
import type { LoadedPlan } from '../../sync-config/types.ts'

/** What a stream is of. */
export interface StreamInput {
  request: StreamRequest
  /** Payload of the verified token. It may be replaced while the stream runs, and counts when buckets are next evaluated. */
  claims: Record<string, unknown>
  /** `sub` as text. */
  user: string
}

/** The two small ports through which a stream sees the world: messages of a relay in, lines out; and the reads in between. */
export interface StreamPorts {
  /**
   * Opens a socket to a relay that may have room. Rejects with PSYNC_S2003 when none has, which ends the stream, and with any other error when it cannot;
   * then the stream tries again with back-off.
   */
  connect(): Promise<Upstream>
  /** The relay has taken the stream with all its buckets. */
  served(): void
  /** Loads a plan by its hash. Rejects on any fault; the stream tries again. */
  plan(hash: string): Promise<LoadedPlan>
  read(bucket: string, after: OpId, checkpoint: OpId): Promise<ReadAnswer>
  /** The distinct rows of a lookup, at most as many as one stream may have. */
  rows(bucket: string, checkpoint: OpId): Promise<RowsAnswer>
  /** Waits with back-off and jitter before try `attempt` (from 1). */
  pause(attempt: number): Promise<void>
  /** Told how many UTF-16 units of ops are kept for later lines. */
  tails(length: number): void
  /** Told how many bytes the stream needs for what it knows of its buckets. Throws PSYNC_S2003 when the isolate has no room for more. */
  know(bytes: number): void
  lines: LineSink
}

export interface Upstream {
  send(frame: SubscribeFrame): void
  /** The next message, or null when the socket has fallen. */
  next(): Promise<RelayFrame | null>
  /** Messages that came and were not taken yet. */
  readonly waiting: number
  close(): void
}

/** Where lines go. Keepalives go between them, by a timer: see `openStream`. */
export interface LineSink {
  /** Resolves when there is room for a large line: what the receiver cannot take yet is not read. Rejects like `send`. */
  room(): Promise<void>
  /** Resolves when the line is on its way. Rejects when the receiver has gone or the stream must end. */
  send(line: SyncLine): Promise<void>
  data(line: DataLine): Promise<void>
  /** Aborted when the receiver has gone, the token has expired, or a budget is used up. */
  readonly signal: AbortSignal
}

export type { Gone, Overtaken }
