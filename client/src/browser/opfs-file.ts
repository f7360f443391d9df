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

/** Milliseconds between two attempts while another worker, which may have just ended, holds the file handles. */
const BUSY_MS = 50
/**
 * Milliseconds between two attempts after any other failure, which may be temporary too: a restart of the storage
 * process, a full disk.
 */
const AGAIN_MS = 1_000
/** Milliseconds of failing attempts after which the problem is reported. */
const REPORT_MS = 2_000
/** The files of one database: the database, WAL, journal, and a spare one. */
const FILES = 4
/** The size of the header that the pool writes before the content of each file, in bytes (sqlite-wasm 3.54). */
const HEADER = 4_096

export interface OpenOptions {
  /** True when a file was opened here before. */
  opened: boolean
  /** Called while the file cannot be opened. `retryAt` is the time of the next attempt, in milliseconds since 1970. */
  blocked(problem: SyncProblem, retryAt: number): void
  fatal(error: Error): void
}

const directory = (name: string): string => `rockpool-${name}`

/**
 * Opens SQLite in this worker (`sqlite3.wasm` is next to its script), in a file of the origin's private file system.
 * Where a file was ever opened, only that file is used: failures are waited out, because an empty database in its place
 * would hide unsent writes. Elsewhere (private windows, old browsers) the database is in memory.
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
      if (!busy || Date.now() - began > REPORT_MS) options.blocked(problemOfFile(error), Date.now() + wait)
      await new Promise((resolve) => setTimeout(resolve, wait))
    }
  }
}

async function openInPool(
  sqlite3: Sqlite3Static,
  name: string,
  fatal: OpenOptions['fatal'],
): Promise<{ db: Sqlite; storage: Storage }> {
  // By default, a pool that cannot get one of its handles deletes all files, and remembers its failure for ever.
  // The types lack `forceReinitIfPreviouslyFailed` (sqlite-wasm 3.54), so this is not a literal in the call.
  const pooling = {
    name: directory(name),
    directory: `/${directory(name)}`,
    preserveOnInitFailure: true,
    forceReinitIfPreviouslyFailed: true,
  }
  const pool = await sqlite3.installOpfsSAHPoolVfs(pooling)
  if (pool.isPaused()) await pool.unpauseVfs()
  try {
    // An existing file can be opened on a full disk too.
    await pool.reserveMinimumCapacity(pool.getFileCount() + FILES).catch(() => {})
    // The last name is the database. Those before it were damaged.
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
    // Releases its handles, so that the next attempt gets them.
    pool.pauseVfs()
    throw error
  }
}

/** Encodes a path as the pool does. */
const encodedPath = (path: string): string => new URL(path, 'file://localhost/').pathname

/**
 * Returns null when the file is damaged. `synchronous = FULL`, because with NORMAL a power cut undoes the last commits
 * of a WAL, and with them numbers of transactions that were uploaded.
 */
function tryOpen(
  sqlite3: Sqlite3Static,
  database: InstanceType<Sqlite3Static['oo1']['DB']>,
  fatal: OpenOptions['fatal'],
): Sqlite | null {
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

/** Returns true when there is a database, also one of a version that left no mark. */
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
  if (error instanceof Error && error.name === 'QuotaExceededError')
    return { code: 'storage_full', message: error.message }
  const { code, message } = problemOf(error, 'storage_blocked')
  return { code: code === 'storage' ? 'storage_blocked' : code, message }
}
