import type { Sqlite3Static } from '@sqlite.org/sqlite-wasm'
import type { Storage } from '../core/engine.ts'
import { isCorrupt, problemOf } from '../core/problem.ts'
import { KEPT_CORRUPT, setAsideProblem, tooManyCorrupt } from '../core/set-aside.ts'
import type { Sqlite } from '../core/sqlite.ts'
import { migrate } from '../core/storage.ts'
import type { SyncProblem } from '../types.ts'
import { rememberHandleErrors } from './handle-errors.ts'
import { loadSqlite } from './load-sqlite.ts'
import { wrap } from './wasm-sqlite.ts'

/** A worker that has just gone may hold its file handles for a moment. */
const BUSY_MS = 50
/** What else is in the way may pass too: the storage process is restarted, the disk is full. */
const AGAIN_MS = 1_000
/** From then on it is told. */
const TELL_MS = 2_000
/** Files of one database: itself, WAL, journal, and one to spare. */
const FILES = 4
/** Bytes that the pool keeps before the content of each file (sqlite-wasm 3.54). */
const HEADER = 4_096

export interface OpenOptions {
  /** A file was opened here before. */
  opened: boolean
  /** It cannot be opened yet. */
  blocked(problem: SyncProblem, retryAt: number): void
  fatal(error: Error): void
}

const directory = (name: string): string => `rockpool-${name}`

/**
 * SQLite in this worker (`sqlite3.wasm` lies beside its script), in a file of the origin's private file system. Where a file was ever opened it is this file
 * or none: whatever is in the way is waited for, because in its place an empty database would hide what is unsent. Elsewhere (private windows,
 * old browsers) it is in memory.
 */
export async function openFile(name: string, options: OpenOptions): Promise<{ db: Sqlite; storage: Storage }> {
  rememberHandleErrors()
  const sqlite3 = await loadSqlite()
  const opened = options.opened || (await hasContent(name))
  const began = Date.now()
  for (;;) {
    try {
      return await openInPool(sqlite3, name, options.fatal)
    } catch (error) {
      const busy = error instanceof Error && error.name === 'NoModificationAllowedError'
      if (!opened && !busy) {
        console.warn('rockpool: the private file system cannot be used; nothing survives a reload', error)
        return { db: wrap(sqlite3, new sqlite3.oo1.DB(':memory:'), options.fatal), storage: { kind: 'memory' } }
      }
      const wait = busy ? BUSY_MS : AGAIN_MS
      if (!busy || Date.now() - began > TELL_MS) options.blocked(problemOfFile(error), Date.now() + wait)
      await new Promise((resolve) => setTimeout(resolve, wait))
    }
  }
}

async function openInPool(sqlite3: Sqlite3Static, name: string, fatal: OpenOptions['fatal']): Promise<{ db: Sqlite; storage: Storage }> {
  // By default a pool that cannot get one of its handles deletes all files, and remembers its failure for good.
  const pool = await sqlite3.installOpfsSAHPoolVfs({
    ...{ name: directory(name), directory: `/${directory(name)}` },
    ...{ preserveOnInitFailure: true, forceReinitIfPreviouslyFailed: true },
  })
  if (pool.isPaused()) await pool.unpauseVfs()
  try {
    // A file that is there can be opened on a full disk too.
    await pool.reserveMinimumCapacity(pool.getFileCount() + FILES).catch(() => {})
    // The last name is the database; those before it were damaged.
    const names = [`/${name}.db`, ...Array.from({ length: KEPT_CORRUPT }, (_, n) => `/${name}.db.${n + 1}`)]
    const files = new Set(pool.getFileNames())
    let current = Math.max(
      0,
      names.findLastIndex((each) => files.has(encodedPath(each))),
    )
    for (; current < names.length; current++) {
      const db = tryOpen(sqlite3, new pool.OpfsSAHPoolDb(names[current] ?? ''), fatal)
      if (db === null) continue
      const erase = async (): Promise<void> => void (await pool.removeVfs())
      return { db, storage: { kind: 'opfs', setAside: setAsideProblem(names[current - 1]), erase } }
    }
    throw tooManyCorrupt(name)
  } catch (error) {
    // Its handles are let go of, so that the next try gets them.
    pool.pauseVfs()
    throw error
  }
}

/** As the pool keeps it. */
const encodedPath = (path: string): string => new URL(path, 'file://localhost/').pathname

/** Null: damaged. `synchronous = FULL`: with NORMAL a power cut takes back the last commits of a WAL, and numbers of transactions that have been uploaded. */
function tryOpen(sqlite3: Sqlite3Static, database: InstanceType<Sqlite3Static['oo1']['DB']>, fatal: OpenOptions['fatal']): Sqlite | null {
  const db = wrap(sqlite3, database, fatal)
  try {
    db.exec('PRAGMA locking_mode = exclusive; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
    db.exec('PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY')
    migrate(db)
    return db
  } catch (error) {
    db.close()
    if (isCorrupt(error)) return null
    throw error
  }
}

/** Whether there is a database, also one of a version that left no mark. */
async function hasContent(name: string): Promise<boolean> {
  try {
    const root = await navigator.storage.getDirectory()
    const files = await (await root.getDirectoryHandle(directory(name))).getDirectoryHandle('.opaque')
    for await (const handle of files.values()) {
      if (handle.kind === 'file' && (await (handle as FileSystemFileHandle).getFile()).size > HEADER) return true
    }
  } catch {
    // There is nothing, or nothing can be known.
  }
  return false
}

function problemOfFile(error: unknown): SyncProblem {
  if (error instanceof Error && error.name === 'QuotaExceededError') return { code: 'storage_full', message: error.message }
  const { code, message } = problemOf(error, 'storage_blocked')
  return { code: code === 'storage' ? 'storage_blocked' : code, message }
}
