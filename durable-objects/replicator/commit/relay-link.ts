import type { OpId } from '../../../protocol/ops.ts'

/** A relay that accepted a socket. */
export interface RelayConnection {
  link: RelayLink
  /** The checkpoint that it has, or null when it has none. */
  checkpoint: OpId | null
  /** True for a relay of version 1, which knows buckets by hashes. */
  hashed: boolean
  /** True when it understands fences. */
  fences: boolean
}

/** Our end of a socket. */
export interface RelayLink {
  /**
   * Must be called in the turn in which the connection was accepted. `fallen` is called when the other end, or
   * something in between, has gone.
   */
  listen(message: (data: unknown) => void, fallen: () => void): void
  /** Throws when it has fallen. */
  send(text: string): void
  /** May be called more than once. With `failure` the code says that an error is the reason. */
  close(failure?: boolean): void
}
