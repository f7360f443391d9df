import type { UploadResponse } from '../core/outbox/answer.ts'
import type { StoreSchema } from '../core/store/tables.ts'
import type { Identity } from '../core/token.ts'
import type { SyncProblem } from '../types.ts'
import type { ToAll, ToOwner, ToTab } from './messages.ts'
import type { Posted } from './poster.ts'

// Between a page and its own worker, beside the messages of tabs.

/** Options without functions. */
export interface Start {
  tab: string
  worker: string
  file: string
  /** Of the file of an earlier release, which is moved. */
  oldName: string
  /** A file was opened here before. */
  opened: boolean
  url: string
  schema: StoreSchema
  user?: string
  parameters?: Record<string, unknown>
  uploads: boolean
  /** The browser deletes what a site has stored when nobody visits it for some days. */
  isEvicted: boolean
  connect: boolean
  wasm?: string
}

export type ToWorker =
  | { start: Start }
  | ToOwner
  /** Finish what is under way, let go of the file, and end. */
  | { leave: true }
  /** The page has asked that the file is kept. */
  | { persisted: boolean }
  | { answer: number; identity: Identity }
  | { answer: number; response: UploadResponse }
  | { answer: number; problem: SyncProblem }

export type ToPage =
  /** It holds its lock. */
  | { alive: true }
  /** It owns the file. */
  | { owns: string; kind: 'opfs' | 'memory' }
  | { toTab: ToTab }
  | { toAll: ToAll }
  | { ask: number; token: true }
  | { ask: number; post: Posted }
  | { left: true }
  /** The database was closed for all, and the others have gone. */
  | { ended: true }
  | { failed: SyncProblem }
