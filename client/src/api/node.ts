import { existsSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { checkAddress } from '../core/address.ts'
import { LocalDatabase, type DatabaseOptions } from '../core/database/database.ts'
import { isMoveOver, isOldFile, moveIn } from '../core/move/move.ts'
import type { UploadResponse } from '../core/outbox/answer.ts'
import { responseOf } from '../core/outbox/sender.ts'
import { ProblemError, sqliteCode } from '../core/problem.ts'
import { identify } from '../core/token.ts'
import { writeCheckpoint } from '../core/uploader.ts'
import { within } from '../core/within.ts'
import { storedSchema, type TypedSchema } from '../schema.ts'
import { nodeSqlite } from '../sqlite/node.ts'
import { Database, withTables, type Rockpool } from './rockpool.ts'

/** So long an answer of the backend or the sync service may take. */
export const ANSWER_MS = 60_000
/** Another process may just be closing the file. */
const BUSY_MS = 5_000
const SQLITE_BUSY = 5

export interface RockpoolOptions<S extends TypedSchema> {
  schema: S
  /** Names the local database. */
  name: string
  /** Of the sync service, for example `https://sync.example.com`. */
  url: string
  /**
   * A token for the sync service and the backend; asked again when it is about to expire, and when it threw. Throw
   * `SignedOut` when nobody is signed in.
   */
  token: () => Promise<string> | string
  /** Whose database it is. Without it, that of the first token's subject. */
  user?: string
  /** How `user` is found in a token. Default: its `sub`. */
  subject?: (claims: Record<string, unknown>) => string
  /** Where writes are posted. Without it they wait in the queue. */
  upload?: string
  /** Parameters of the connection, for the sync config. */
  parameters?: Record<string, unknown>
  /** Default true: connect as soon as the database is open. */
  connect?: boolean
  /** Default false: `http://` is refused except on this machine. */
  allowHttp?: boolean
}

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
      ...coreOptions(options),
      prepare: (tables) => moveOld(db, tables, oldPath),
    })
    if (options.connect !== false) void core.connect()
    return core
  } catch (error) {
    file.close()
    throw error
  }
}

/** What is the same wherever the file lies. */
export function coreOptions<S extends TypedSchema>(
  options: RockpoolOptions<S>,
): Omit<DatabaseOptions, 'db' | 'kind' | 'flush' | 'prepare'> {
  const { schema, url, token, user, subject, upload, parameters } = options
  return {
    url,
    schema: storedSchema(schema),
    ...(user === undefined ? {} : { user }),
    ...(parameters === undefined ? {} : { parameters }),
    identify: () => identify({ auth: token, ...(subject === undefined ? {} : { subject }) }),
    post:
      upload === undefined
        ? null
        : (body, given, signal) => limited(signal, (over) => postTo(upload, body, given, over)),
    checkpoint: (client, given, signal) => limited(signal, (over) => writeCheckpoint({ url }, client, given, over)),
  }
}

/** A redirect is not followed: `fetch` would follow that of a POST with a GET, and take a login page for the answer. */
async function postTo(url: string, body: string, token: string, signal: AbortSignal): Promise<UploadResponse> {
  const headers = { 'content-type': 'application/json', accept: 'application/json', authorization: `Bearer ${token}` }
  return responseOf(await fetch(url, { method: 'POST', headers, body, signal, redirect: 'manual' }))
}

async function limited<T>(signal: AbortSignal, request: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const given = new AbortController()
  const late = (): ProblemError => new ProblemError('network', `no answer within ${ANSWER_MS / 1_000} seconds`)
  try {
    return await within(request(AbortSignal.any([signal, given.signal])), ANSWER_MS, late, signal)
  } finally {
    given.abort()
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
