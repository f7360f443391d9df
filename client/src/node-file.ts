import { existsSync, renameSync, rmSync } from 'node:fs'
import type { Storage } from './core/engine.ts'
import { isCorrupt, ProblemError } from './core/problem.ts'
import { KEPT_CORRUPT, setAsideProblem, tooManyCorrupt } from './core/set-aside.ts'
import type { Sqlite } from './core/sqlite.ts'
import { migrate } from './core/storage.ts'
import { openNodeSqlite } from './node-sqlite.ts'

/**
 * Opens the file. A damaged one is kept under another name, because it may contain unsent writes, and a new one is
 * created.
 */
export function openFile(path: string): { db: Sqlite; storage: Storage } {
  if (path === ':memory:') return { db: openNodeSqlite(path), storage: { kind: 'memory' } }
  let db = tryOpen(path)
  if (db === null) {
    setAside(path)
    db = tryOpen(path)
    if (db === null)
      throw new ProblemError('storage_corrupt', `neither ${path} nor a new file in its place can be used`)
  }
  const kept = corruptNames(path).findLast((name) => existsSync(name))
  return { db, storage: { kind: 'file', setAside: setAsideProblem(kept), erase: async () => erase(path) } }
}

/** Returns null when the file is damaged. */
function tryOpen(path: string): Sqlite | null {
  let db: Sqlite | null = null
  try {
    db = openNodeSqlite(path)
    migrate(db)
    return db
  } catch (error) {
    db?.close()
    if (isCorrupt(error)) return null
    throw error
  }
}

const corruptNames = (path: string): string[] =>
  Array.from({ length: KEPT_CORRUPT }, (_, n) => `${path}.corrupt-${n + 1}`)

/**
 * Renames a damaged file. The WAL is renamed first, because SQLite would delete it next to a new file, as a leftover.
 */
function setAside(path: string): void {
  const name = corruptNames(path).find((each) => !existsSync(each))
  if (name === undefined) throw tooManyCorrupt(path)
  for (const end of ['-wal', '']) if (existsSync(`${path}${end}`)) renameSync(`${path}${end}`, `${name}${end}`)
}

function erase(path: string): void {
  for (const name of [path, ...corruptNames(path)]) {
    for (const end of ['-wal', '-shm', '-journal', '']) rmSync(`${name}${end}`, { force: true })
  }
}
