import { CollectedFile, type SyncHandle } from './collected-file.ts'

export type FileKind = 'database' | 'wal' | 'journal'
export type Handles = Record<FileKind, SyncHandle>

/**
 * The database grows in steps of this size, and from `LARGE_BYTES` on of the other one: a file that is as long as it
 * will be needs no space when it is written.
 */
export const STEP_BYTES = 1 << 20
export const LARGE_STEP_BYTES = 16 << 20
export const LARGE_BYTES = 64 << 20
/** So many steps are always free, for local writes. */
export const FREE_STEPS = 2
/** The WAL has this size from the beginning. */
export const WAL_BYTES = 16 << 20
const WAL_HEADER_BYTES = 32

/**
 * The three files of a database in WAL mode with `locking_mode = EXCLUSIVE` and `synchronous = FULL`. They are never
 * deleted.
 *
 * What a COMMIT syncs is in the file when it returns, so it survives the end of the worker; it is on the disk after the
 * next `flush`. The disk is waited for by itself where the order of writes counts (a power cut keeps any of those that
 * were not flushed): before pages of the WAL go into the database, when they are there, and when the WAL begins anew,
 * because a header of before would make its old frames valid again.
 */
export class DatabaseFiles {
  readonly #files: Record<FileKind, CollectedFile>
  /** End of what SQLite has written into the database. The file is longer. */
  #used: number
  /** Since the last flush of the WAL its header was written. */
  #walBegun = false
  /**
   * Writes that SQLite believes in were lost, or it is not known whether they were: the files have to be opened again.
   */
  broken: Error | null = null

  constructor(handles: Handles) {
    this.#files = {
      database: new CollectedFile(handles.database),
      wal: new CollectedFile(handles.wal),
      journal: new CollectedFile(handles.journal),
    }
    this.#used = this.#usedAtOpen()
  }

  /** Something that was committed is not on the disk yet. */
  get unflushed(): boolean {
    return Object.values(this.#files).some((file) => file.unflushed)
  }

  /** Bytes beyond `into` that were not there are zero. Answers how many were. */
  read(kind: FileKind, into: Uint8Array, at: number): number {
    const file = this.#usable(kind)
    if (file.overlaps(at, into.length)) this.#settle(file)
    const length = file.read(into, at)
    into.fill(0, length)
    return length
  }

  write(kind: FileKind, bytes: Uint8Array, at: number): void {
    const file = this.#usable(kind)
    if (kind === 'wal' && at < WAL_HEADER_BYTES) this.#walBegun = true
    if (kind === 'database') {
      // A checkpoint. SQLite tells of it only after its sync of the WAL (SQLITE_FCNTL_CKPT_START, 3.54), so it is seen
      // here.
      if (this.#files.wal.unflushed) this.#flushWal()
      this.#grow(at + bytes.length)
    }
    file.write(bytes, at)
  }

  truncate(kind: FileKind, size: number): void {
    const file = this.#usable(kind)
    if (kind === 'wal') return this.#endWal(size)
    // Whoever has written what is collected asks, and does it again: a checkpoint, or a rollback.
    file.drain()
    if (kind === 'journal') return file.truncate(size)
    this.#used = size
    this.#giveBack()
  }

  /** SQLite's xSync. */
  sync(kind: FileKind): void {
    const file = this.#usable(kind)
    if (kind !== 'wal') {
      file.drain()
      file.flush()
      return
    }
    const failed = file.drainWhole()
    if (failed !== null) {
      if (!failed.taken) this.#break(failed.error)
      throw failed.error
    }
    if (this.#walBegun) this.#flushWal()
  }

  size(kind: FileKind): number {
    const file = this.#usable(kind)
    if (kind === 'database') return this.#used
    this.#settle(file)
    return file.size
  }

  /** A WAL that holds nothing counts as none. */
  exists(kind: FileKind): boolean {
    if (kind !== 'wal') return this.size(kind) > 0
    const magic = new Uint8Array(4)
    return this.read('wal', magic, 0) === 4 && magic.some((byte) => byte !== 0)
  }

  /** SQLite deletes its files; here they end up empty. */
  remove(kind: FileKind): void {
    this.truncate(kind, 0)
    this.#files[kind].flush()
  }

  /** What was committed survives a power cut from here on. */
  flush(): void {
    for (const kind of ['wal', 'journal', 'database'] as const) {
      const file = this.#usable(kind)
      // Between two transactions nothing is collected.
      if (file.hasCollected) this.#settle(file)
      if (file.unflushed) file.flush()
    }
    this.#walBegun = false
  }

  /**
   * Takes space for files of so many bytes, and throws when there is none. What was there stays. Of the database it is
   * what SQLite says it has (`page_count`) and what will be added: pages that are still in the WAL have no place in its
   * file yet.
   */
  reserve(databaseBytes: number, walBytes: number): void {
    this.#usable('database')
    if (this.#files.wal.size < walBytes) this.#files.wal.truncate(walBytes)
    this.#take(Math.max(this.#used, databaseBytes))
  }

  close(): void {
    for (const file of Object.values(this.#files)) file.close()
  }

  #usable(kind: FileKind): CollectedFile {
    if (this.broken !== null) throw this.broken
    return this.#files[kind]
  }

  /** A drain for somebody who has not written what is collected, and cannot take it back. */
  #settle(file: CollectedFile): void {
    try {
      file.drain()
    } catch (error) {
      this.#break(error)
      throw error
    }
  }

  #flushWal(): void {
    this.#files.wal.flush()
    this.#walBegun = false
  }

  #break(cause: unknown): void {
    this.broken = new Error(`the files have to be opened again: ${String(cause)}`, { cause })
  }

  get #step(): number {
    return this.#used < LARGE_BYTES ? STEP_BYTES : LARGE_STEP_BYTES
  }

  /**
   * Keeps space for local writes behind it. Where that is not to be had, the write itself says whether there is really
   * none.
   */
  #grow(end: number): void {
    if (end <= this.#used) return
    this.#used = end
    if (this.#files.database.size >= end + this.#step) return
    try {
      this.#take(end)
    } catch {
      // What is there may do.
    }
  }

  #take(end: number): void {
    const wanted = (Math.ceil(end / this.#step) + FREE_STEPS) * this.#step
    if (this.#files.database.size < wanted) this.#files.database.truncate(wanted)
  }

  #giveBack(): void {
    const kept = (Math.ceil(this.#used / this.#step) + FREE_STEPS) * this.#step
    if (this.#files.database.size > kept) this.#files.database.truncate(kept)
  }

  /** Its frames are not valid any more, also after a crash. */
  #endWal(size: number): void {
    const { wal } = this.#files
    this.#settle(wal)
    wal.write(new Uint8Array(WAL_HEADER_BYTES), 0)
    this.#walBegun = true
    this.#settle(wal)
    const kept = Math.max(size, WAL_BYTES)
    if (wal.size > kept) wal.truncate(kept)
  }

  /**
   * A database that was made longer than it is says in its first page how many pages it has (bytes 16, 24, 28 and 92 of
   * the header, https://www.sqlite.org/fileformat.html). Where a WAL knows better SQLite asks the WAL.
   */
  #usedAtOpen(): number {
    const { size } = this.#files.database
    const bytes = new Uint8Array(100)
    if (this.#files.database.read(bytes, 0) < bytes.length) return 0
    const header = new DataView(bytes.buffer)
    const pageBytes = header.getUint16(16) === 1 ? 65_536 : header.getUint16(16)
    const pages = header.getUint32(28)
    // A file that was taken space for, and never written.
    if (pageBytes === 0) return 0
    return pages === 0 || header.getUint32(24) !== header.getUint32(92) ? size : Math.min(size, pages * pageBytes)
  }
}
