import type { Status, SyncState, UploadProblem } from '../types.ts'
import * as outbox from './outbox.ts'
import type { Sqlite } from './sqlite.ts'
import { getNumber } from './storage.ts'

/** The status, in memory: telling it reads no database, so it can be told when the database cannot be read. */
export class Board {
  readonly #db: Sqlite
  readonly #told: (status: Status) => void
  readonly #storage: Pick<Status, 'storage' | 'setAside'>
  #state: SyncState = { state: 'offline' }
  #upload: UploadProblem | null = null
  #unsynced: readonly string[] = []
  #counts = { pending: 0, unconfirmed: 0, failed: 0 }
  #lastSyncedAt: number | null = null
  #comparing: number | null = null
  status: Status

  constructor(db: Sqlite, storage: Pick<Status, 'storage' | 'setAside'>, told: (status: Status) => void) {
    this.#db = db
    this.#storage = storage
    this.#told = told
    this.#read()
    this.status = this.#new()
  }

  get state(): SyncState {
    return this.#state
  }

  setState(state: SyncState): void {
    if (this.#state.state === 'closed') return
    this.#state = state
    this.tell()
  }

  setComparing(fraction: number | null): void {
    this.#comparing = fraction
    this.tell()
  }

  setUpload(problem: UploadProblem | null): void {
    this.#upload = problem
    this.tell()
  }

  /** Null: they are what they were. */
  setUnsynced(names: readonly string[] | null): void {
    this.#unsynced = names ?? this.#unsynced
    this.tell()
  }

  /** Something was stored. The caller has the turn. */
  recount(): void {
    try {
      this.#read()
    } catch (error) {
      // The figures stay as they were; whoever reads rows is told why.
      console.error('rockpool: the local database cannot be read', error)
    }
    this.tell()
  }

  tell(): void {
    const status = this.#new()
    if (JSON.stringify(status) === JSON.stringify(this.status)) return
    this.status = status
    this.#told(status)
  }

  #read(): void {
    this.#counts = outbox.counts(this.#db)
    this.#lastSyncedAt = getNumber(this.#db, 'last_synced_at')
  }

  #new(): Status {
    const { pending, unconfirmed, failed } = this.#counts
    return {
      ...this.#state,
      pendingWrites: pending,
      unconfirmedWrites: unconfirmed,
      failedWrites: failed,
      lastSyncedAt: this.#lastSyncedAt,
      comparing: this.#comparing,
      upload: this.#upload,
      unsynced: this.#unsynced,
      ...this.#storage,
    }
  }
}
