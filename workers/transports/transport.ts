import type { DataLine, SyncLine } from '../../protocol/lines.ts'
import type { RockpoolError } from '../../protocol/errors.ts'
import type { Held } from '../stream/held.ts'

/** How a transport encodes lines. */
export interface LineEncoder<T> {
  line(line: SyncLine): T
  data(line: DataLine): T
}

/** Lines as a transport sends them. */
export type Encoded = string | Uint8Array

/**
 * Why a stream must end without an error. `spent`: its budget is used up. `held`: the isolate holds too much for its
 * clients.
 */
export interface StreamEnd {
  readonly kind: 'spent' | 'expired' | 'held'
  readonly error: RockpoolError
}

/** THE PORT between a stream and its transport. `openStream` makes everything else. */
export interface Transport<T extends Encoded> {
  /**
   * Aborted by the transport when its receiver has gone or `end` was called. The stream then rejects with the reason of
   * the signal.
   */
  readonly signal: AbortSignal
  readonly encoder: LineEncoder<T>
  /** Joins consecutive short lines into one message. Null when each line is sent by itself. */
  readonly join: ((lines: readonly T[]) => T) | null
  /** The bytes held for its client. The transport counts the part `transport`. */
  readonly held: Held
  /** True when the transport has no keepalive of its own, so that `expires` is called at intervals. */
  readonly keepalive: boolean
  /** What the client's software calls itself. */
  readonly agent?: string | undefined
  /**
   * Resolves when there is room for a large line. Rejects with the reason once `signal` is aborted, and so does
   * `ready`.
   */
  room(): Promise<void>
  /** Resolves when this many bytes may be written. */
  ready(bytes: number): Promise<void>
  /** Sends lines. Does not wait. */
  write(lines: T, bytes: number): void
  /**
   * Announces that the token expires in this many seconds. Does not wait. The transport decides whether that takes
   * credit.
   */
  expires(seconds: number): void
  /** Ends the stream: aborts `signal`. */
  end(why: StreamEnd): void
  /** Splits a line into smaller ones. Missing when the transport accepts lines of any size. */
  pieces?(line: DataLine): Iterable<DataLine>
  /**
   * Announces the progress of a comparison that holds back new checkpoints, 0 to 1, or null when there is none. Missing
   * when clients are not notified of it.
   */
  comparing?(fraction: number | null): void
}
