import type { Sqlite3Static } from '@sqlite.org/sqlite-wasm'
import { checkpointOf, limited } from '../api/options.ts'
import { loadSqlite } from '../browser/load-sqlite.ts'
import { LocalDatabase, type DatabaseOptions } from '../core/database/database.ts'
import type { StorageFacts } from '../core/database/status.ts'
import { isMoveOver, isOldFile, moveIn } from '../core/move/move.ts'
import { restore, type Recovered } from '../core/outbox/salvage.ts'
import { ProblemError, problemOf } from '../core/problem.ts'
import { get } from '../core/store/layout.ts'
import { within } from '../core/within.ts'
import type { StoredTable } from '../core/store/tables.ts'
import { removeOpfs, type OpfsConnection } from '../sqlite/opfs-open.ts'
import { openPool, type PoolFile } from '../sqlite/pool-file.ts'
import type { Sqlite } from '../sqlite/sqlite.ts'
import { wasmSqlite } from '../sqlite/wasm.ts'
import type { SyncProblem } from '../types.ts'
import { BusyWatch } from './busy.ts'
import { Desk } from './desk.ts'
import type { ToAll, ToOwner, ToTab } from './messages.ts'
import { allChannel, ownerLock, requestChannel, tabChannel, tabLock, workerLock } from './names.ts'
import type { Start, ToPage, ToWorker } from './page-messages.ts'
import { forgetRescue, openRescued, type Rescue } from './rescue.ts'
import { SpaceWatch } from './space.ts'

// The worker of a tab. It waits for the lock of the database, and then has the file open and serves all tabs. The file
// is long because it wires the core to what a browser has.

/** Tabs that have not heard that the database is closed may take so long to go. */
const LEAVE_MS = 5_000
const AGAIN_MS = 1_000
/** The event loop is free when this comes. */
const FREE_MS = 100
/** A connection that breaks so often within a minute is this worker's fault: another one is begun. */
const MOST_BROKEN = 3
const MINUTE_MS = 60_000

type Answer = Extract<ToWorker, { answer: number }>
type Ending = 'broken' | 'closed' | 'left'

const tell = (message: ToPage): void => postMessage(message)
const questions = new Map<number, { done(answer: Answer): void; failed(error: Error): void }>()
let lastQuestion = 0
let receive: (message: ToOwner) => void = () => {}
let leave: () => void = () => self.close()
let told: (of: StorageFacts) => void = () => {}

function ask(question: { token: true } | { post: { body: string; token: string } }): Promise<Answer> {
  const id = ++lastQuestion
  tell({ ask: id, ...question })
  return new Promise((done, failed) => questions.set(id, { done, failed }))
}

addEventListener('message', ({ data }: MessageEvent<ToWorker>) => {
  if ('start' in data) run(data.start).catch((error: unknown) => tell({ failed: problemOf(error, 'storage') }))
  else if ('leave' in data) leave()
  else if ('persisted' in data) told({ persisted: data.persisted })
  else if ('answer' in data) {
    const question = questions.get(data.answer)
    questions.delete(data.answer)
    if ('problem' in data) question?.failed(new ProblemError(data.problem.code, data.problem.message))
    else question?.done(data)
  } else receive(data)
})

async function run(start: Start): Promise<void> {
  void navigator.locks.request(workerLock(start.file, start.worker), () => {
    tell({ alive: true })
    return new Promise(() => {})
  })
  await navigator.locks.request(ownerLock(start.file), async () => {
    const all = new BroadcastChannel(allChannel(start.file))
    const toAll = (message: ToAll): void => {
      all.postMessage(message)
      tell({ toAll: message })
    }
    const sqlite3 = await loadSqlite(start.wasm)
    const broken: number[] = []
    for (let suspect = false; ; suspect = true) {
      const ending = await own(sqlite3, start, suspect, toAll)
      if (ending === 'closed') return tell({ ended: true })
      if (ending === 'left') break
      const now = performance.now()
      broken.push(now)
      if (broken.filter((at) => now - at < MINUTE_MS).length >= MOST_BROKEN) break
    }
    self.close()
  })
}

/** Until the database is closed, or has to be opened again. */
async function own(
  sqlite3: Sqlite3Static,
  start: Start,
  suspect: boolean,
  toAll: (message: ToAll) => void,
): Promise<Ending> {
  const owner = crypto.randomUUID()
  const over = Promise.withResolvers<Ending>()
  const busy = new BusyWatch(
    () => performance.now(),
    () => toAll({ owner, busy: true }),
  )
  const blocked = (problem: SyncProblem, retryAt: number): void => toAll({ blocked: problem, retryAt })
  const old = await oldFile(sqlite3, start, blocked)
  const options = { opened: start.opened, blocked, suspect, watch: () => busy.look() }
  const opened =
    (await openRescued(sqlite3, start.file, options, (connection, rescue) =>
      openCore(connection.db, connection, { start, rescue, old }),
    )) ?? openCore(wasmSqlite(sqlite3, { path: ':memory:' }), null, { start, rescue: null, old: null })
  const { db, connection, rescue, recovered } = opened
  if (old !== null) {
    if (opened.isMoved) await old.remove()
    else old.close()
  }
  if (rescue) await forgetRescue(start.file)

  const channels = new Map<string, BroadcastChannel>()
  const post = (tab: string, message: ToTab): void => {
    if (tab === start.tab) return tell({ toTab: message })
    const channel = channels.get(tab) ?? new BroadcastChannel(tabChannel(start.file, tab))
    channels.set(tab, channel)
    channel.postMessage(message)
  }
  const others = new Map<string, Promise<void>>()
  const requests = new BroadcastChannel(requestChannel(start.file))
  const desk = new Desk({
    db,
    owner,
    post,
    recovered,
    watch: (tab) => {
      // We get its lock when it has gone.
      const gone = navigator.locks.request(tabLock(start.file, tab), () => {
        desk.gone(tab)
        channels.get(tab)?.close()
        channels.delete(tab)
        others.delete(tab)
      })
      if (tab !== start.tab) others.set(tab, gone)
    },
    closed(wiped) {
      desk.end()
      toAll({ owner, closed: true, wiped })
      const late = (): ProblemError => new ProblemError('storage', 'a tab does not close')
      // Their workers wait for this lock, and would begin the file anew.
      void within(Promise.all(others.values()), LEAVE_MS, late)
        .catch(() => {})
        .then(() => over.resolve('closed'))
    },
    isFatal(error) {
      const { code } = problemOf(error)
      const isFatal = error instanceof WebAssembly.RuntimeError || (connection?.files.broken ?? null) !== null
      if (isFatal || code === 'storage_corrupt') over.resolve('broken')
      return isFatal
    },
  })
  const off = db.on('status', ({ storage }) => {
    if (storage.state === 'corrupt' || (connection?.files.broken ?? null) !== null) over.resolve('broken')
  })
  receive = (message) => desk.receive(message)
  requests.addEventListener('message', ({ data }: MessageEvent<ToOwner>) => desk.receive(data))
  leave = () => {
    desk.end()
    void db
      .close()
      .catch(() => {})
      .then(() => over.resolve('left'))
  }
  told = (of) => db.told(of)
  void navigator.storage?.persisted?.().then(
    (persisted) => told({ persisted }),
    () => {},
  )
  const space = new SpaceWatch(told)
  const free = setInterval(() => busy.free(), FREE_MS)
  tell({ owns: owner, kind: db.status.storage.kind === 'opfs' ? 'opfs' : 'memory' })
  toAll({ announce: owner })
  if (start.connect) void db.connect().catch(() => {})

  const ending = await over.promise
  off()
  clearInterval(free)
  space.end()
  desk.end()
  receive = () => {}
  leave = () => self.close()
  requests.close()
  // Of a broken one nothing can be written any more.
  if (ending === 'broken') void db.disconnect().catch(() => {})
  connection?.close()
  for (const channel of channels.values()) channel.close()
  if (ending === 'left') tell({ left: true })
  return ending
}

interface OpenedCore {
  db: LocalDatabase
  connection: OpfsConnection | null
  rescue: Rescue | null
  recovered: Recovered | null
  /** Nothing of the old file is needed any more. */
  isMoved: boolean
}

function openCore(
  file: Sqlite,
  connection: OpfsConnection | null,
  { start, rescue, old }: { start: Start; rescue: Rescue | null; old: PoolFile | null },
): OpenedCore {
  let recovered: Recovered | null = null
  let isMoved = false
  const prepare = (tables: ReadonlyMap<string, StoredTable>): void => {
    if (rescue && get(file, 'salvaged') !== rescue.id)
      recovered = restore(file, tables, rescue.salvaged, Date.now(), rescue.id)
    if (old !== null && isOldFile(old.db) && isOf(old.db, start.user)) {
      moveIn(file, tables, old.db, Date.now())
      isMoved = isMoveOver(file)
    }
    connection?.files.flush()
  }
  const options: DatabaseOptions = {
    db: file,
    kind: connection === null ? 'memory' : 'opfs',
    flush: () => connection?.files.flush(),
    reserve: (bytes) => reserve(connection, bytes),
    erase: async () => {
      connection?.close()
      await removeOpfs(start.file)
      await forgetRescue(start.file)
    },
    prepare,
    isEvicted: start.isEvicted && connection !== null,
    url: start.url,
    schema: start.schema,
    ...(start.user === undefined ? {} : { user: start.user }),
    ...(start.parameters === undefined ? {} : { parameters: start.parameters }),
    async identify() {
      const answer = await ask({ token: true })
      if (!('identity' in answer)) throw new ProblemError('network', 'the page did not return a token')
      return answer.identity
    },
    post: start.uploads ? (body, token, signal) => limited(signal, () => posted(body, token)) : null,
    checkpoint: checkpointOf(start.url),
  }
  return { db: new LocalDatabase(options), connection, rescue, recovered, isMoved }
}

async function posted(body: string, token: string): Promise<Extract<Answer, { response: unknown }>['response']> {
  const answer = await ask({ post: { body, token } })
  if (!('response' in answer)) throw new ProblemError('network', 'the page did not return an answer')
  return answer.response
}

function reserve(connection: OpfsConnection | null, bytes: number): void {
  try {
    connection?.reserve(bytes)
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'QuotaExceededError') throw error
    throw new ProblemError('storage_full', 'there is no space left for what is downloaded', { cause: error })
  }
}

/** Another user's old file stays where it is. */
function isOf(old: Sqlite, user: string | undefined): boolean {
  const [row] = old.prepare("SELECT value FROM rp_kv WHERE key = 'user'").all()
  return user === undefined || row === undefined || row[0] === user
}

/** The file of an earlier release; waits for the tabs of that release to let go of it. */
async function oldFile(
  sqlite3: Sqlite3Static,
  { oldName }: Start,
  blocked: (problem: SyncProblem, retryAt: number) => void,
): Promise<PoolFile | null> {
  for (;;) {
    try {
      return await openPool(sqlite3, oldName)
    } catch (error) {
      if (!(error instanceof Error) || error.name !== 'NoModificationAllowedError') throw error
      const message = 'a tab with an earlier version of this page has the database open: close or reload it'
      blocked({ code: 'storage_busy', message }, Date.now() + AGAIN_MS)
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS))
    }
  }
}
