import sqlite3InitModule from '@sqlite.org/sqlite-wasm'
import { openOpfs, removeOpfs, type OpfsConnection } from '../../client/src/sqlite/opfs-open.ts'
import { isMoveOver, isOldFile, moveIn } from '../../client/src/core/move/move.ts'
import { openLayout } from '../../client/src/core/store/layout.ts'
import { applySchema } from '../../client/src/core/store/schema.ts'
import { openPool } from '../../client/src/sqlite/pool-file.ts'
import type { SqlValue } from '../../client/src/types.ts'

// Runs in a worker of a test page: one database in the private file system, without anything of the client above it.

// Nothing is awaited before the listener is there: what comes earlier would be lost.
const loading = sqlite3InitModule().then((sqlite3) => {
  // It logs every refused statement.
  sqlite3.config.warn = () => {}
  return sqlite3
})
let connection: OpfsConnection | null = null
let reported: string[] = []

function open(): OpfsConnection {
  if (connection === null) throw new Error('there is no connection')
  return connection
}

function insert(n: number, bytes: number): void {
  const { db } = open()
  db.transaction(() =>
    db.prepare('INSERT INTO t VALUES (?, ?)').run([n, String.fromCharCode(97 + (n % 26)).repeat(bytes)]),
  )
}

const commands = {
  /** Answers `memory` where there is no private file system. */
  async open(name: string, opened: boolean): Promise<string> {
    reported = []
    connection = await openOpfs(await loading, name, { opened, blocked: ({ code }) => void reported.push(code) })
    connection?.db.exec('CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, filling TEXT)')
    return connection === null ? 'memory' : 'opfs'
  },
  reported: (): string[] => reported,
  close(): void {
    open().close()
    connection = null
  },
  remove: (name: string): Promise<void> => removeOpfs(name),
  all: (sql: string): SqlValue[][] => open().db.prepare(sql).all(),
  insert,
  /** Inserts from this number on, until it is stopped from outside. */
  async endlessly(from: number, bytes: number): Promise<void> {
    for (let n = from; ; n++) {
      insert(n, bytes)
      postMessage({ acknowledged: n })
      if (n % 10 === 0) await new Promise((resolve) => setTimeout(resolve))
    }
  },
  reserve: (bytes: number): void => open().reserve(bytes),
  flush: (): void => open().files.flush(),
  /** Moves the file of an earlier release in, up to a step. Answers what the new one has then. */
  async move(name: string, until: MoveStep): Promise<unknown> {
    const { db, files } = open()
    openLayout(db)
    const tables = applySchema(db, { tables: { notes: { columns: { body: 'text' } } } })
    const old = await openPool(await loading, name)
    if (old === null) return 'there is no old file'
    if (until === 'opened') return until
    if (isOldFile(old.db)) moveIn(db, tables, old.db, Date.now())
    if (until === 'moved') return until
    files.flush()
    if (until === 'flushed') return until
    if (until === 'removed') return old.remove()
    old.close()
    return {
      over: isMoveOver(db),
      ids: db.prepare('SELECT id FROM rp_tx ORDER BY seq').all().flat(),
      notes: db.prepare('SELECT * FROM notes ORDER BY id').all(),
      failed: db.prepare('SELECT code FROM rp_failed').all().flat(),
      user: db.prepare("SELECT value FROM rp_kv WHERE key = 'user'").all().flat(),
    }
  },
  /** Name of what a file handle last threw. */
  fileError: (): string | null => open().error?.name ?? null,
  broken: (): boolean => open().files.broken !== null,
}

export type MoveStep = 'opened' | 'moved' | 'flushed' | 'closed' | 'removed'
export type Commands = typeof commands
export type Reply = { acknowledged: number } | { id: number; result: unknown } | { id: number; error: string }

addEventListener('message', ({ data }: MessageEvent<{ id: number; command: keyof Commands; args: never[] }>) => {
  const run = async (): Promise<unknown> => (commands[data.command] as (...args: never[]) => unknown)(...data.args)
  run().then(
    (result) => postMessage({ id: data.id, result }),
    (error: unknown) => postMessage({ id: data.id, error: String(error) }),
  )
})
