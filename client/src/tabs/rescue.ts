import type { Sqlite3Static } from '@sqlite.org/sqlite-wasm'
import { salvage, type Salvaged } from '../core/outbox/salvage.ts'
import { isCorrupt, ProblemError } from '../core/problem.ts'
import {
  folderOf,
  hasSyncHandles,
  keepDamaged,
  openDamaged,
  openOpfs,
  type OpenOpfsOptions,
  type OpfsConnection,
} from '../sqlite/opfs-open.ts'

// Opens a file, and one that is damaged too: what can be read of its queue is written to a file of its own first, the
// damaged one is kept, and a new one begins with that queue. Each step may be the last before the power goes.

export interface Rescue {
  /** Names it: who has begun with it once does not do it again. */
  id: string
  salvaged: Salvaged
}

/** Files that are damaged one after the other are the device's fault. */
const MOST_RESCUES = 2

/**
 * `make`: builds on the connection; what it throws of a damaged file counts as found at the opening. `suspect`: the
 * file is known to be damaged somewhere. Null: there are no files in this browser.
 */
export async function openRescued<T>(
  sqlite3: Sqlite3Static,
  file: string,
  options: OpenOpfsOptions & { suspect: boolean },
  make: (connection: OpfsConnection, rescue: Rescue | null) => T,
): Promise<T | null> {
  let { suspect } = options
  for (let rescues = 0; ; rescues++) {
    let connection: OpfsConnection | null = null
    try {
      connection = await openOpfs(sqlite3, file, options)
      if (connection === null) return null
      if (suspect) checkWhole(connection)
      return make(connection, await read(file))
    } catch (error) {
      connection?.close()
      if (!isCorrupt(error) || rescues >= MOST_RESCUES) throw error
      suspect = false
      await rescue(sqlite3, file)
    }
  }
}

/** What was rescued is in the new file, and on the disk. */
export async function forgetRescue(file: string): Promise<void> {
  const folder = await folderOf(true)
  await folder.removeEntry(nameOf(file)).catch(() => {})
}

const nameOf = (file: string): string => `${file}.rescued.json`

class Damaged extends Error {
  readonly resultCode = 11
}

function checkWhole({ db }: OpfsConnection): void {
  const [row] = db.prepare('PRAGMA quick_check(1)').all()
  if (row?.[0] !== 'ok') throw new Damaged(`quick_check: ${String(row?.[0])}`)
}

async function rescue(sqlite3: Sqlite3Static, file: string): Promise<void> {
  // Of an earlier rescue that was interrupted: the damaged file may be half gone.
  if ((await read(file)) === null)
    await write(file, { id: crypto.randomUUID(), salvaged: await salvaged(sqlite3, file) })
  await keepDamaged(file)
}

async function salvaged(sqlite3: Sqlite3Static, file: string): Promise<Salvaged> {
  let connection: OpfsConnection | null = null
  try {
    connection = await openDamaged(sqlite3, file)
    return salvage(connection.db)
  } catch (error) {
    if (!isCorrupt(error)) throw error
    return { values: {}, transactions: [], failed: [] }
  } finally {
    connection?.close()
  }
}

async function write(file: string, rescue: Rescue): Promise<void> {
  const handle = await (await folderOf(true)).getFileHandle(nameOf(file), { create: true })
  if (!hasSyncHandles(handle)) throw new ProblemError('storage', 'there are no synchronous file handles')
  const access = await handle.createSyncAccessHandle()
  try {
    access.truncate(0)
    const bytes = new TextEncoder().encode(JSON.stringify(rescue))
    if (access.write(bytes, { at: 0 }) !== bytes.length)
      throw new ProblemError('storage_full', 'there is no space left')
    access.flush()
  } finally {
    access.close()
  }
}

/** One that was written halfway counts as none: then the damaged file is still there. */
async function read(file: string): Promise<Rescue | null> {
  try {
    const handle = await (await folderOf(false)).getFileHandle(nameOf(file))
    const parsed: Rescue = JSON.parse(await (await handle.getFile()).text())
    return parsed
  } catch {
    return null
  }
}
