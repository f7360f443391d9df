import type { BoundStatement, DatabaseEvents } from '../core/database/port.ts'
import type { DatabaseStatus } from '../core/database/status.ts'
import type { Patch } from '../core/live/patch.ts'
import type { StoredOp } from '../core/store/ops.ts'
import type { StreamStatus } from '../core/sync/lines.ts'
import type { Wanted } from '../core/sync/streams.ts'
import type { ResultColumn } from '../sqlite/sqlite.ts'
import type { SignOutOptions, SqlParam, SyncProblem } from '../types.ts'

// What tabs and the owner of a database say to each other. The owner is the worker of one of the tabs: it has the file
// open. A tab reaches its own worker directly, and another tab's over a channel that only the owner hears; the owner
// answers each tab on a channel of that tab.

/** Of these messages. Tabs of another version work with the file only when they own it. */
export const PROTOCOL = 1

type Params = readonly SqlParam[]

export type Request =
  | { do: 'query'; sql: string; params: Params; timeout?: number }
  /** `write` names it: a repeat to a new owner is answered, and not run again. */
  | { do: 'batch'; write: string; statements: readonly BoundStatement[] }
  /** Answers the name of the transaction, which begins with that of the owner. */
  | { do: 'begin'; write: string }
  | { do: 'execute'; tx: string; sql: string; params: Params }
  | { do: 'read'; tx: string; sql: string; params: Params }
  | { do: 'commit'; tx: string; write: string }
  | { do: 'rollback'; tx: string }
  /** Answers the id of what was stored under this name, or null. */
  | { do: 'fate'; write: string }
  /** Answers when it is decided, or confirmed. */
  | { do: 'watch'; id: string; until: 'accepted' | 'confirmed' }
  | { do: 'stream'; stream: number; wanted: Wanted }
  | { do: 'failed' }
  | { do: 'retry'; id: string }
  | { do: 'edit'; id: string; ops: readonly StoredOp[] }
  | { do: 'dismiss'; id: string | null }
  | { do: 'connect' }
  | { do: 'disconnect' }
  | { do: 'signOut'; options: Omit<SignOutOptions, 'signal' | 'timeout'> }
  | { do: 'wipe' }

/** Nobody answers these. A tab says the last of each again when it meets a new owner. */
export type Wish =
  | { follow: number; sql: string; params: Params }
  | { unfollow: number }
  | { closeStream: number }
  /** The page is seen again, or online: the owner looks whether its connection still lives, and waits no longer. */
  | { wake: true }
  /** Answered with `pong`. */
  | { ping: true }

export type ToOwner = { tab: string } &
  /** `user`: whose session the tab has; null: it does not know. */
  (
    | { hello: number; user: string | null }
    | { owner: string; call: number; request: Request }
    | { owner: string; cancel: number }
    | { owner: string; wish: Wish }
  )

export interface News {
  status: DatabaseStatus
  streams: readonly StreamStatus[]
  shown: number
}

export type LivePatch =
  { live: number; patch: Patch; columns: readonly ResultColumn[] | null } | { live: number; problem: SyncProblem }

export type AppEvent = Exclude<keyof DatabaseEvents, 'status' | 'streams'>

export type ToTab = { owner: string } &
  /** The answer to `hello`. */
  (
    | { welcome: News }
    /** The tab is of another version. */
    | { refused: SyncProblem }
    | { call: number; result: unknown }
    | { call: number; problem: SyncProblem }
    /** Everything that one commit changed of what the tab shows. */
    | { patches: readonly LivePatch[] }
    | { news: News }
    | { event: AppEvent; value: unknown }
    | { pong: true }
    /** The owner took the tab for gone. */
    | { stranger: true }
  )

/** Owner → all tabs; from a worker that is about to own the file, `blocked`. */
export type ToAll =
  | { announce: string }
  /** It works, and answers nobody meanwhile. */
  | { owner: string; busy: true }
  /** `retryAt` in milliseconds since 1970. */
  | { blocked: SyncProblem; retryAt: number }
  /** The database was closed for all tabs; `wiped`: it is not there any more. */
  | { owner: string; closed: true; wiped: boolean }
