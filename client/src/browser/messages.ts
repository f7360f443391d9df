import type { FailedWrite, Row, SqlParam, Status, SyncOptions, UploadResult, UploadTransaction } from '../types.ts'

// One tab's worker owns the database; every tab talks to it over a BroadcastChannel, its own tab too, so that it does not matter who is the owner.

export const channelName = (name: string): string => `rockpool:${name}`
export const ownerLock = (name: string): string => `rockpool:${name}:owner`
/** Held by a tab as long as it lives: the owner sees by it that the tab has gone. */
export const tabLock = (name: string, tab: string): string => `rockpool:${name}:tab:${tab}`

export type Call =
  | { call: 'query'; sql: string; params: readonly SqlParam[] }
  | { call: 'live'; live: number; sql: string; params: readonly SqlParam[] }
  | { call: 'unlive'; live: number }
  | { call: 'begin' }
  | { call: 'execute'; tx: number; sql: string; params: readonly SqlParam[] }
  | { call: 'read'; tx: number; sql: string; params: readonly SqlParam[] }
  | { call: 'commit'; tx: number }
  | { call: 'rollback'; tx: number }
  | { call: 'failedWrites' }
  | { call: 'dismiss'; id: number | undefined }
  | { call: 'connect' }
  | { call: 'disconnect' }

/** Tab → owner. */
export type TabMessage = { to: 'owner'; tab: string; id: number; request: Call } | { to: 'owner'; tab: string; hello: true }

/** Owner → tabs. `tab` absent: to all. */
export type OwnerMessage =
  | { to: 'tab'; owner: string; status: Status; tab?: string }
  | { to: 'tab'; tab: string; id: number; result: unknown }
  | { to: 'tab'; tab: string; id: number; problem: { code: string; message: string } }
  | { to: 'tab'; tab: string; live: number; rows: Row[] }
  | { to: 'tab'; tab: string; live: number; problem: { code: string; message: string } }
  | { to: 'tab'; failedWrite: FailedWrite }
  | { to: 'tab'; mismatch: { bucket: string } }

/** Tab → its own worker: options without functions, and answers to the worker's questions. */
export type WorkerInput =
  | { open: Omit<SyncOptions, 'auth' | 'upload'>; uploads: boolean }
  | { answer: number; token: string }
  | { answer: number; result: UploadResult }
  | { answer: number; problem: { code: string; message: string } }

/** Worker → its own tab: what only the page can do. */
export type WorkerOutput = { ask: number; auth: true } | { ask: number; upload: UploadTransaction; token: string } | { failed: string }
