import type { DataLine, SyncLine } from '../../protocol/lines.ts'
import type { RockpoolError } from '../../protocol/errors.ts'
import type { Held } from '../stream/held.ts'

/** How a transport writes lines. Every line comes from the same stream; this is all that differs. */
export interface LineEncoder<T> {
  line(line: SyncLine): T
  data(line: DataLine): T
}

/** Lines as a transport sends them. */
export type Encoded = string | Uint8Array

/** Why a stream must end that has nothing to complain about. `spent`: its budget is used up; `held`: the isolate holds too much for its clients. */
export interface StreamEnd {
  readonly kind: 'spent' | 'expired' | 'held'
  readonly error: RockpoolError
}

/** THE PORT: what a transport is for a stream. `openStream` makes everything else. */
export interface Transport<T extends Encoded> {
  /** Aborted by the transport: its receiver has gone, or `end` was called. The reason is what the stream then rejects with. */
  readonly signal: AbortSignal
  readonly encoder: LineEncoder<T>
  /** Makes one message of short lines that follow one another. Null: each line leaves by itself. */
  readonly join: ((lines: readonly T[]) => T) | null
  /** What is held for its client; the transport counts the part `transport`. */
  readonly held: Held
  /** True: it has no signs of life of its own, so it is told now and then when the token expires. */
  readonly keepalive: boolean
  /** Resolves when there is room for a large line. Rejects with the reason once `signal` is aborted, and so does `ready`. */
  room(): Promise<void>
  /** Resolves when this many bytes may be written. */
  ready(bytes: number): Promise<void>
  /** Does not wait. */
  write(lines: T, bytes: number): void
  /** The token expires in this many seconds. Does not wait; the transport decides whether that takes credit. */
  expires(seconds: number): void
  /** The stream must end. Aborts `signal`. */
  end(why: StreamEnd): void
  /** Cuts a line into smaller ones. Missing: it takes lines of any size. */
  pieces?(line: DataLine): Iterable<DataLine>
  /** How much of a comparison is done that keeps everything new away, 0 to 1; null: there is none. Missing: its clients are not told. */
  comparing?(fraction: number | null): void
}
