import { existsSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { checkAddress } from '../core/address.ts'
import { LocalDatabase } from '../core/database/database.ts'
import { isMoveOver, isOldFile, moveIn } from '../core/move/move.ts'
import { ProblemError, sqliteCode } from '../core/problem.ts'
import { identify } from '../core/token.ts'
import { storedSchema, type TypedSchema } from '../schema.ts'
import { nodeSqlite } from '../sqlite/node.ts'
import { checkpointOf, limited, postTo, type RockpoolOptions } from './options.ts'
import { Database, withTables, type Rockpool } from './rockpool.ts'

/** Another process may just be closing the file. */
const BUSY_MS = 5_000
const SQLITE_BUSY = 5

export interface NodeRockpoolOptions<S extends TypedSchema> extends RockpoolOptions<S> {
  /** Path of the file, `:memory:` for none. Default `<name>.rockpool`. */
  path?: string
  /** Path of the file of an earlier release, which is moved. Default `<name>.db`. */
  oldPath?: string
}

/** Answers at once; the database opens itself when it is first used. */
export function createRockpool<S extends TypedSchema>(options: NodeRockpoolOptions<S>): Rockpool<S> {
  checkAddress(options.url, options.allowHttp)
  if (options.upload !== undefined) checkAddress(options.upload, options.allowHttp)
  return withTables(new Database(options.schema, 'file', () => open(options)))
}

function open<S extends TypedSchema>(options: NodeRockpoolOptions<S>): LocalDatabase {
  const { schema, url, token, user, subject, upload, parameters } = options
  const path = options.path ?? `${options.name}.rockpool`
  const oldPath = options.oldPath ?? `${options.name}.db`
  const file = openFile(path)
  const db = nodeSqlite(file)
  try {
    const core = new LocalDatabase({
      // In Node every COMMIT is on the disk when it returns.
      db,
      kind: path === ':memory:' ? 'memory' : 'file',
      flush: () => {},
      // What is left of the old file would be taken over again.
      erase: async () => [path, oldPath].forEach(removeFile),
      url,
      schema: storedSchema(schema),
      ...(user === undefined ? {} : { user }),
      ...(parameters === undefined ? {} : { parameters }),
      identify: () => identify({ auth: token, ...(subject === undefined ? {} : { subject }) }),
      post:
        upload === undefined
          ? null
          : (body, given, signal) => limited(signal, (over) => postTo(upload, body, given, { signal: over })),
      checkpoint: checkpointOf(url),
      prepare: (tables) => moveOld(db, tables, oldPath),
    })
    if (options.connect !== false) void core.connect()
    return core
  } catch (error) {
    file.close()
    throw error
  }
}

/** The file is locked for this process as long as it is open: two on one file would both number, upload and apply. */
function openFile(path: string): DatabaseSync {
  const db = new DatabaseSync(path)
  try {
    db.exec(`PRAGMA busy_timeout = ${BUSY_MS}; PRAGMA locking_mode = EXCLUSIVE; PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL;
      PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY; BEGIN EXCLUSIVE; COMMIT`)
    return db
  } catch (error) {
    db.close()
    if (sqliteCode(error) !== SQLITE_BUSY) throw error
    throw new ProblemError('storage_locked', `another process has ${path} open`, { cause: error })
  }
}

/** Takes over what a file of an earlier release has, and deletes it when the server has decided all of that. */
function moveOld(db: Parameters<typeof moveIn>[0], tables: Parameters<typeof moveIn>[1], path: string): void {
  if (path === ':memory:' || !existsSync(path)) return
  const old = nodeSqlite(new DatabaseSync(path))
  try {
    // Nobody else may write into it meanwhile.
    old.exec(`PRAGMA busy_timeout = ${BUSY_MS}; BEGIN IMMEDIATE`)
    if (isOldFile(old)) moveIn(db, tables, old, Date.now())
    old.exec('ROLLBACK')
  } finally {
    old.close()
  }
  if (isMoveOver(db)) removeFile(path)
}

function removeFile(path: string): void {
  for (const end of ['-wal', '-shm', '-journal', '']) rmSync(`${path}${end}`, { force: true })
}
