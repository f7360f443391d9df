import type { Sqlite3Static } from '@sqlite.org/sqlite-wasm'
import type { Sqlite } from './sqlite.ts'
import { wasmSqlite } from './wasm.ts'

// The file of an earlier release in this browser: it lies in a pool of SQLite's own VFS (`browser/opfs-file.ts`). It is
// opened once, to be moved, and deleted when that is over.

export interface PoolFile {
  readonly db: Sqlite
  close(): void
  /**
   * Deletes it. Damaged files that were set aside beside it may hold writes that were never sent: then everything
   * stays. Answers whether it is gone.
   */
  remove(): Promise<boolean>
}

const folder = (name: string): string => `rockpool-${name}`

/** Null: there is none. Throws as a file handle does, `NoModificationAllowedError` while another worker has it. */
export async function openPool(sqlite3: Sqlite3Static, name: string): Promise<PoolFile | null> {
  if (!(await isThere(name))) return null
  // By default a pool that cannot get one of its handles deletes all files, and remembers its failure for good. The
  // type does not know of the last option (3.54).
  const options = {
    name: folder(name),
    directory: `/${folder(name)}`,
    preserveOnInitFailure: true,
    forceReinitIfPreviouslyFailed: true,
  }
  const pool = await sqlite3.installOpfsSAHPoolVfs(options)
  if (pool.isPaused()) await pool.unpauseVfs()
  const files = pool.getFileNames().filter((path) => /\.db(\.\d+)?$/.test(path))
  // The last one is the database; those before it were damaged.
  const file = files.sort().at(-1)
  if (file === undefined) {
    pool.pauseVfs()
    return null
  }
  const db = wasmSqlite(sqlite3, { path: file, vfs: folder(name), beginning: 'PRAGMA locking_mode = EXCLUSIVE' })
  return {
    db,
    close() {
      db.close()
      pool.pauseVfs()
    },
    async remove() {
      db.close()
      if (files.length > 1) pool.pauseVfs()
      else await pool.removeVfs()
      return files.length === 1
    },
  }
}

async function isThere(name: string): Promise<boolean> {
  try {
    const root = await navigator.storage.getDirectory()
    await root.getDirectoryHandle(folder(name))
    return true
  } catch {
    // Where there is no private file system there was none before.
    return false
  }
}
