import type { OpId } from '../../../protocol/ops.ts'

/** A relay that has let us open a socket to it. */
export interface RelayConnection {
  link: RelayLink
  /** The checkpoint that it is at; null: it knows none. */
  checkpoint: OpId | null
  /** It is of version 1 and knows buckets by hashes. */
  hashed: boolean
  /** It understands that buckets are fenced. */
  fences: boolean
}

/** Our end of a socket. */
export interface RelayLink {
  /** To be called in the turn in which the connection was answered. `fallen` is called when the other end, or something in between, has gone. */
  listen(message: (data: unknown) => void, fallen: () => void): void
  /** Throws when it has fallen. */
  send(text: string): void
  /** May be called again. `failure`: as after an error. */
  close(failure?: boolean): void
}
