import type { SyncState } from '../../types.ts'
import type { UploadState } from '../outbox/sender.ts'

// What the client says of itself: connection and storage are two sets of states, because a database may be live and its
// disk full. It is computed from memory, so it can be told when the file cannot be read.

/** Until the file is open nothing else is said. */
export type ConnectionStatus = { state: 'opening'; reason?: string } | SyncState

/**
 * What the browser says; undefined: it has not. `persisted`: it has promised to keep the file when space is short.
 * `used`, `quota`: bytes of the whole origin, which the browser does not tell exactly.
 */
export interface StorageFacts {
  persisted?: boolean
  used?: number
  quota?: number
}

export type StorageStatus = { kind: 'opfs' | 'memory' | 'file' } & StorageFacts &
  (
    | { state: 'opening' }
    | { state: 'ok' }
    | { state: 'full' }
    | { state: 'blocked'; reason: string }
    | { state: 'corrupt'; reason: string }
  )

export interface QueueCounts {
  /** Transactions that are not decided. */
  pending: number
  /** Accepted transactions whose effect has not come back. */
  unconfirmed: number
  /** Rejected transactions that wait for the application. */
  failed: number
  /** When the oldest that is not decided was made. */
  oldestUnsentAt: number | null
}

export type UploadStatus = QueueCounts & UploadState

export type DatabaseStatus = ConnectionStatus & {
  storage: StorageStatus
  upload: UploadStatus
  /** When a whole checkpoint was last applied, or was known to be current. */
  lastSyncedAt: number | null
  /**
   * How much the server has compared with its database, 0 to 1, while it shows nothing new; null: it does not compare.
   */
  comparing: number | null
}

const FACTS: readonly string[] = ['persisted', 'used', 'quota'] satisfies (keyof StorageFacts)[]
const NO_COUNTS: QueueCounts = { pending: 0, unconfirmed: 0, failed: 0, oldestUnsentAt: null }

/** Whoever listens is told of the newest status, and not more often than `soon` runs what it is given. */
export class StatusBoard {
  readonly #told: (status: DatabaseStatus) => void
  readonly #soon: (work: () => void) => void
  #connection: ConnectionStatus = { state: 'opening' }
  #storage: StorageStatus
  #counts = NO_COUNTS
  #upload: UploadState = { state: 'idle' }
  #lastSyncedAt: number | null = null
  #comparing: number | null = null
  #due = false
  status: DatabaseStatus

  constructor(kind: StorageStatus['kind'], told: (status: DatabaseStatus) => void, soon: (work: () => void) => void) {
    this.#told = told
    this.#soon = soon
    this.#storage = { kind, state: 'opening' }
    this.status = this.#made()
  }

  get connection(): ConnectionStatus {
    return this.#connection
  }

  /** After `closed` nothing changes any more. */
  setConnection(state: ConnectionStatus): void {
    if (this.#connection.state === 'closed') return
    this.#connection = state
    this.#changed()
  }

  setStorage(state: StorageStatus): void {
    const facts = Object.entries(this.#storage).filter(([name]) => FACTS.includes(name))
    this.#storage = { ...Object.fromEntries(facts), ...state }
    this.#changed()
  }

  setCounts(counts: QueueCounts): void {
    this.#counts = counts
    this.#changed()
  }

  setUpload(state: UploadState): void {
    this.#upload = state
    this.#changed()
  }

  setSynced(at: number | null): void {
    this.#lastSyncedAt = at
    this.#changed()
  }

  setComparing(fraction: number | null): void {
    this.#comparing = fraction
    this.#changed()
  }

  #changed(): void {
    const status = this.#made()
    if (JSON.stringify(status) === JSON.stringify(this.status)) return
    this.status = status
    if (this.#due) return
    this.#due = true
    this.#soon(() => {
      this.#due = false
      this.#told(this.status)
    })
  }

  #made(): DatabaseStatus {
    return {
      ...this.#connection,
      storage: this.#storage,
      upload: { ...this.#counts, ...this.#upload },
      lastSyncedAt: this.#lastSyncedAt,
      comparing: this.#comparing,
    }
  }
}
