import type { Sqlite3Static } from '@sqlite.org/sqlite-wasm'
import { sleep } from '../../../protocol/sleep.ts'
import { isCorrupt, sqliteCode } from '../core/problem.ts'
import type { SyncProblem } from '../types.ts'
import type { SyncHandle } from './collected-file.ts'
import { DatabaseFiles, WAL_BYTES, type FileKind, type Handles } from './database-files.ts'
import { BEGINNING, installOpfsVfs } from './opfs-vfs.ts'
import { integer, type Sqlite } from './sqlite.ts'
import { wasmSqlite } from './wasm.ts'

// Opens a database in the private file system of a browser (OPFS). It runs in a dedicated worker, the only place with
// synchronous handles. The owner of a database uses it: whoever has its Web Lock. Files of other tabs are no reason to
// give up, and no error of a file is a reason for an empty database where one was ever opened.

/** The folder of all databases, so that they are apart from the application's own files. */
const FOLDER = 'rockpool'
const ENDS: Readonly<Record<FileKind, string>> = { database: '.db', wal: '.db-wal', journal: '.db-journal' }
const KINDS: readonly FileKind[] = ['database', 'wal', 'journal']

/** A worker that has just gone may hold its handles for a moment. */
export const BUSY_MS = 50
/** What else is in the way may pass too: the storage process is restarted, the disk is full. */
export const AGAIN_MS = 1_000
/** Handles that are busy are reported from then on. */
export const REPORT_MS = 2_000

const SQLITE_FULL = 13

export interface OpfsConnection {
  readonly db: Sqlite
  readonly files: DatabaseFiles
  /** What a file handle last threw: SQLite has one code for all that a file can do wrong. */
  readonly error: Error | null
  /**
   * Takes space ahead for a transaction that adds so many bytes, and throws what the file handle does when there is
   * none: then a hundred local writes still fit. A download does it before each of its transactions; a local write does
   * not.
   */
  reserve(bytes: number): void
  /** Lets go of the files too. */
  close(): void
}

export interface OpenOpfsOptions {
  /** A file was opened here before, so nothing takes its place. */
  opened: boolean
  /**
   * It cannot be opened yet: `storage_busy`, `storage_full` or `storage_blocked`. `retryAt` in milliseconds since 1970.
   */
  blocked(problem: SyncProblem, retryAt: number): void
  signal?: AbortSignal
  /** Called again and again while SQLite works. */
  watch?(): void
}

/**
 * Returns the connection, or null where there is no private file system and never was a file: private windows and old
 * browsers. Waits for whatever else is in the way. Throws when the file is damaged (`isCorrupt`), and when `signal` is
 * aborted.
 */
export async function openOpfs(
  sqlite3: Sqlite3Static,
  name: string,
  options: OpenOpfsOptions,
): Promise<OpfsConnection | null> {
  const began = performance.now()
  const opened = options.opened || (await hasContent(name))
  for (;;) {
    options.signal?.throwIfAborted()
    try {
      return connect(sqlite3, await openHandles(name), BEGINNING, () => options.watch?.())
    } catch (error) {
      if (isCorrupt(error)) throw error
      const { code, message } = problemOfFile(error)
      if (code === 'storage_blocked' && !opened) return null
      const wait = code === 'storage_busy' ? BUSY_MS : AGAIN_MS
      if (code !== 'storage_busy' || performance.now() - began > REPORT_MS)
        options.blocked({ code, message }, Date.now() + wait)
      await sleep(wait, options.signal)
    }
  }
}

/** Deletes the files of a database. Nobody has them open. */
export async function removeOpfs(name: string): Promise<void> {
  const folder = await folderOf(false).catch(() => null)
  for (const kind of KINDS) {
    await folder?.removeEntry(fileName(name, kind)).catch((error: unknown) => {
      if (nameOf(error) !== 'NotFoundError') throw error
    })
  }
}

const fileName = (name: string, kind: FileKind): string => `${name}${ENDS[kind]}`

/** The folder of all databases. */
export async function folderOf(create: boolean): Promise<FileSystemDirectoryHandle> {
  const root = await navigator.storage.getDirectory()
  return root.getDirectoryHandle(FOLDER, { create })
}

/** WebKitGTK has none (2.50), and only workers have them. */
export const hasSyncHandles = (file: object): file is { createSyncAccessHandle(): Promise<SyncHandle> } =>
  'createSyncAccessHandle' in file

/** All of them or none: one that is kept would be in the way of whoever has the others. */
async function openHandles(name: string): Promise<Handles> {
  const folder = await folderOf(true)
  const opened: Partial<Handles> = {}
  try {
    for (const kind of KINDS) {
      const file = await folder.getFileHandle(fileName(name, kind), { create: true })
      if (!hasSyncHandles(file)) throw new Error('this browser, or this thread of it, has no synchronous file handles')
      opened[kind] = await file.createSyncAccessHandle()
    }
  } catch (error) {
    for (const handle of Object.values(opened)) handle.close()
    throw error
  }
  return opened as Record<FileKind, SyncHandle>
}

/**
 * A damaged file, to read from it what can be read. Throws when nothing can be. Handles that are busy are waited for
 * by whoever has found the damage.
 */
export const openDamaged = async (sqlite3: Sqlite3Static, name: string): Promise<OpfsConnection> =>
  connect(sqlite3, await openHandles(name), 'PRAGMA locking_mode = EXCLUSIVE')

/** Keeps a damaged file beside where a new one will be. The one that was kept before it goes. Nobody has it open. */
export async function keepDamaged(name: string): Promise<void> {
  const folder = await folderOf(true)
  for (const kind of KINDS) {
    const to = fileName(`${name}.corrupt`, kind)
    const file = await folder.getFileHandle(fileName(name, kind)).catch(() => null)
    await folder.removeEntry(to).catch(() => {})
    // In every browser with synchronous handles, and in no type of TypeScript (6.0).
    await (file as { move?(name: string): Promise<void> } | null)?.move?.(to)
  }
}

function connect(
  sqlite3: Sqlite3Static,
  handles: Handles,
  beginning: string,
  watch: () => void = () => {},
): OpfsConnection {
  const cleanups = Object.values(handles).map((handle) => (): void => handle.close())
  const close = (): void => {
    for (const cleanup of cleanups.splice(0).reverse()) attempt(cleanup)
  }
  try {
    const files = new DatabaseFiles(handles)
    reserveWal(files)
    const vfs = installOpfsVfs(sqlite3, files)
    cleanups.push(() => vfs.dispose())
    const db = wasmSqlite(sqlite3, { path: vfs.path, vfs: vfs.name, beginning, watch })
    cleanups.push(() => db.close())
    return {
      db,
      files,
      close,
      reserve: (bytes) => files.reserve(sizeOf(db) + bytes, WAL_BYTES),
      get error() {
        return vfs.error
      },
    }
  } catch (error) {
    close()
    throw error
  }
}

/** With the pages that are in the WAL alone. */
function sizeOf(db: Sqlite): number {
  const [pages, bytes] = ['page_count', 'page_size'].map((name) => integer(db.prepare(`PRAGMA ${name}`).all()[0]?.[0]))
  return (pages ?? 0) * (bytes ?? 0)
}

/** Files that are there can be opened on a full disk too. */
function reserveWal(files: DatabaseFiles): void {
  try {
    files.reserve(0, WAL_BYTES)
  } catch (error) {
    if (nameOf(error) !== 'QuotaExceededError') throw error
  }
}

/** Closing a file that is broken may fail, and what comes after it has to be let go of all the same. */
function attempt(work: () => void): void {
  try {
    work()
  } catch (error) {
    console.warn('rockpool: a file could not be closed', error)
  }
}

/** Whether there is a database, also one that left no mark. */
async function hasContent(name: string): Promise<boolean> {
  try {
    const file = await (await folderOf(false)).getFileHandle(fileName(name, 'database'))
    return (await file.getFile()).size > 0
  } catch {
    // There is nothing, or nothing can be known.
    return false
  }
}

const nameOf = (error: unknown): string => (error instanceof Error ? error.name : '')

function problemOfFile(error: unknown): SyncProblem {
  const message = error instanceof Error ? error.message : String(error)
  if (nameOf(error) === 'NoModificationAllowedError') return { code: 'storage_busy', message }
  if (nameOf(error) === 'QuotaExceededError' || sqliteCode(error) === SQLITE_FULL)
    return { code: 'storage_full', message }
  return { code: 'storage_blocked', message }
}
