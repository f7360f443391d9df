import type { Identity } from '../core/token.ts'
import type {
  FailedWrite,
  Row,
  SignOutOptions,
  SqlParam,
  Status,
  SyncOptions,
  SyncProblem,
  UploadResult,
  UploadTransaction,
} from '../types.ts'

// The worker of one tab owns the database. Every tab talks to it over a BroadcastChannel, also its own tab, so that it
// does not matter which tab is the owner.

export const channelName = (name: string): string => `rockpool:${name}`
export const ownerLock = (name: string): string => `rockpool:${name}:owner`
/** A lock that a tab holds as long as it lives. It tells the owner when the tab has gone. */
export const tabLock = (name: string, tab: string): string => `rockpool:${name}:tab:${tab}`
/**
 * A lock that a worker holds as long as it lives. It tells the tab when the worker has gone, because a worker that runs
 * out of memory ends without an event.
 */
export const workerLock = (name: string, worker: string): string => `rockpool:${name}:worker:${worker}`

export type Call =
  | { call: 'query'; sql: string; params: readonly SqlParam[] }
  | { call: 'live'; live: number; sql: string; params: readonly SqlParam[] }
  | { call: 'unlive'; live: number }
  /** `write`: the name by which its fate is asked for. */
  | { call: 'begin'; write: string }
  | { call: 'execute'; tx: string; sql: string; params: readonly SqlParam[] }
  | { call: 'executeBatch'; tx: string; sql: string; params: readonly (readonly SqlParam[])[] }
  | { call: 'read'; tx: string; sql: string; params: readonly SqlParam[] }
  | { call: 'commit'; tx: string; write: string }
  | { call: 'rollback'; tx: string }
  /** Of the owner before: whether a write was committed. */
  | { call: 'fate'; write: string }
  | { call: 'failedWrites' }
  | { call: 'dismiss'; id: number | undefined }
  | { call: 'retry'; id: number }
  | { call: 'connect' }
  | { call: 'disconnect' }
  | { call: 'signOut'; options: Omit<SignOutOptions, 'signal' | 'timeout'> }
  | { call: 'wipe' }

/**
 * Tab → owner. A call is for one owner, and others ignore it. A tab sends it again when it hears of a new owner, so no
 * owner ever sees it
 * twice. `user` is the user that the tab claims to be.
 */
export type TabMessage =
  | { to: 'owner'; owner: string; tab: string; user: string | null; id: number; request: Call }
  | { to: 'owner'; tab: string; hello: true }
  /** The page is visible or online again. */
  | { to: 'owner'; tab: string; wake: true }

/** Owner → tabs. Without `tab` a message is for all of them. */
export type OwnerMessage =
  /** `user` is the user to whom the database belongs. */
  | { to: 'tab'; owner: string; status: Status; user: string | null; tab?: string }
  | { to: 'tab'; tab: string; id: number; result: unknown }
  | { to: 'tab'; tab: string; id: number; problem: SyncProblem }
  | { to: 'tab'; tab: string; live: number; rows: Row[] }
  | { to: 'tab'; tab: string; live: number; problem: SyncProblem }
  | { to: 'tab'; failedWrite: FailedWrite }
  | { to: 'tab'; mismatch: { bucket: string } }
  /** The worker that would be the owner cannot open the file yet. */
  | { to: 'tab'; blocked: SyncProblem; retryAt: number }
  /** Somebody has signed out. `of`: the tab of the owner, which lets its worker live until the others have gone. */
  | { to: 'tab'; closed: true; of: string; owner: string; wiped: boolean }

/** Tab → its own worker: options without functions, and answers to the worker's questions. */
export type WorkerInput =
  | {
      open: Omit<SyncOptions, 'auth' | 'upload' | 'subject'>
      uploads: boolean
      tab: string
      worker: string
      /** True when a file was opened here before. */
      opened: boolean
    }
  | { answer: number; identity: Identity }
  | { answer: number; result: UploadResult }
  | { answer: number; problem: SyncProblem }

/** Worker → its own tab: requests that only the page can answer, and what it must know. */
export type WorkerOutput =
  | { ask: number; auth: true }
  | { ask: number; upload: UploadTransaction; token: string }
  | { failed: SyncProblem }
  | { alive: true }
  | { opened: Status['storage'] }
  | { ended: true }
