import type { NameForm, RelayFrame } from '../../protocol/messages/relay.ts'
import type { OpId } from '../../protocol/ops.ts'
import type { Answer } from './questions.ts'

/**
 * What the relay's machine needs from its object. `S` is a stream's socket. The object repeats calls until they are
 * answered.
 */
export interface RelayPorts<S> {
  send(stream: S, frame: RelayFrame): void
  /**
   * Returns whether the stream has acknowledged enough for another frame. When that becomes true again, the object
   * calls `flush`.
   */
  hasCredit(stream: S): boolean
  close(stream: S, reason: string, why?: Closing): void
  saveStream(stream: S, saved: SavedStream): void
  /** Returns a keyed hash of a name in frames, because attachments have no room for names. */
  mark(name: string): string
  /** `fenced` are marks of buckets. `comparing`: see `ReplicatorFrame`. */
  saveCheckpoint(checkpoint: OpId, plan: string | null, fenced: readonly string[], comparing: number | undefined): void
  /**
   * Asks for the state of a bucket at a checkpoint. `stale` says when the answer is not wanted any more; it is null
   * then.
   */
  ask(bucket: string, checkpoint: OpId, stale: () => boolean, answer: (answer: Answer) => void): void
  attach(done: () => void): void
  committed(answer: (checkpoint: OpId) => void): void
}

/** `full`: the relay has no room for the stream; another one may have. `fenced`: a bucket of the stream lacks ops. */
export type Closing = 'full' | 'fenced'

/** The state of a stream in its attachment. `comparing` is that of the last message to it, which the object stores. */
export interface SavedStream {
  /** The marks of its buckets: see `RelayPorts.mark`. */
  marks: readonly string[]
  toldPlan: string | null
  /** The form of bucket names in its frames. */
  form: NameForm | undefined
  /**
   * Whether it waits for something that the attachment does not record. After hibernation such a stream must subscribe
   * again.
   */
  owing: boolean
  comparing?: number | undefined
}

/** The state in the attachment of the replicator's socket: see `RelayPorts.saveCheckpoint`. */
export interface SavedCheckpoint {
  checkpoint: OpId
  plan: string | null
  fenced: readonly string[]
  comparing?: number | undefined
}
