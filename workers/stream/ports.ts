import type { DataLine, StreamRequest, SyncLine } from '../../protocol/lines.ts'
import type { Gone, Overtaken, ReadAnswer, RowsAnswer } from '../../protocol/messages/bucket.ts'
import type { RelayFrame, SubscribeFrame } from '../../protocol/messages/relay.ts'
import type { OpId } from '../../protocol/ops.ts'
import type { LoadedPlan } from '../../sync-config/types.ts'

/** What a client asked for, and as whom. */
export interface StreamInput {
  request: StreamRequest
  /**
   * The payload of the verified token. It may be replaced while the stream runs, and takes effect when buckets are next
   * evaluated.
   */
  claims: Record<string, unknown>
  /** `sub` as text. */
  user: string
}

/** Everything that a stream uses: messages of a relay come in, lines go out, and it reads buckets and plans. */
export interface StreamPorts {
  /**
   * Opens a socket to a relay that may have room. Rejects with PSYNC_S2003 when none has, which ends the stream, and
   * with any other error when the socket cannot be opened; the stream then tries again with back-off.
   */
  connect(): Promise<Upstream>
  /** Called when the relay has accepted the stream with all its buckets. */
  served(): void
  /** Loads a plan by its hash. Rejects on any failure; the stream tries again. */
  plan(hash: string): Promise<LoadedPlan>
  read(bucket: string, after: OpId, checkpoint: OpId): Promise<ReadAnswer>
  /** Returns the distinct rows of a lookup, at most as many as one stream may have. */
  rows(bucket: string, checkpoint: OpId): Promise<RowsAnswer>
  /** Waits with back-off and jitter before attempt `attempt` (from 1). */
  pause(attempt: number): Promise<void>
  /** Called with the number of UTF-16 units of ops that are kept for later lines. */
  tails(length: number): void
  /**
   * Called with the bytes that the stream needs for what it knows about its buckets. Throws PSYNC_S2003 when the
   * isolate has no room for more.
   */
  know(bytes: number): void
  lines: LineSink
}

export interface Upstream {
  send(frame: SubscribeFrame): void
  /** Returns the next message, or null when the socket has closed. */
  next(): Promise<RelayFrame | null>
  /** The number of messages that have arrived and were not yet taken. */
  readonly waiting: number
  close(): void
}

/** Receives the lines. A timer sends keepalives between them: see `openStream`. */
export interface LineSink {
  /**
   * Resolves when there is room for a large line, so that nothing is read before the receiver can take it. Rejects like
   * `send`.
   */
  room(): Promise<void>
  /**
   * Resolves when the line has been handed to the transport. Rejects when the receiver has gone or the stream must end.
   */
  send(line: SyncLine): Promise<void>
  data(line: DataLine): Promise<void>
  /** Aborted when the receiver has gone, the token has expired, or a budget is used up. */
  readonly signal: AbortSignal
}

export type { Gone, Overtaken }
