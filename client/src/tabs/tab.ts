import { limited, postTo } from '../api/options.ts'
import { backoff, ProblemError } from '../core/problem.ts'
import { identify, type Identity } from '../core/token.ts'
import type { SyncProblem } from '../types.ts'
import { within } from '../core/within.ts'
import { actionsOf, suspendsHidden, type PageEvent } from './lifecycle.ts'
import type { ToAll, ToOwner, ToTab } from './messages.ts'
import { allChannel, mark, requestChannel, tabChannel, tabLock, workerLock } from './names.ts'
import type { Start, ToPage, ToWorker } from './page-messages.ts'
import { Poster } from './poster.ts'
import { RemoteDatabase } from './remote.ts'

// A page with its worker, its channels and its lock. What is decided is decided elsewhere: here is what a browser has.
// The file is long because it answers every event of a page.

/** Without the option `user` nothing is said before a token tells whose session this is, for so long at most. */
const IDENTIFY_MS = 5_000
/** The token of the start counts as new for so long. */
const FIRST_MS = 10_000
const TICK_MS = 1_000
/** Whoever closes waits no longer for what is under way. */
const LEAVE_MS = 500
/** Before a worker that ended is replaced; it grows to half a minute. */
const AGAIN_MS = 1_000

export interface TabOptions extends Omit<Start, 'tab' | 'worker' | 'opened' | 'uploads' | 'isEvicted'> {
  token: () => Promise<string> | string
  subject?: (claims: Record<string, unknown>) => string
  upload?: string
  makeWorker(): Worker
}

/** What is there only while the page can be reached. */
interface Reach {
  answers: BroadcastChannel
  all: BroadcastChannel
  requests: BroadcastChannel
  release(): void
}

export class Tab {
  readonly database: RemoteDatabase
  readonly #with: TabOptions
  readonly #id = crypto.randomUUID()
  readonly #over = new AbortController()
  readonly #poster: Poster
  #first: Promise<Identity> | null
  #reach: Reach | null = null
  #worker: Worker | null = null
  /** The owner, when that is the worker of this tab. */
  #own: string | null = null
  #isAlive = false
  #ended = 0
  #isSuspended = false
  #asksToKeep = true
  #left: () => void = () => {}

  constructor(options: TabOptions) {
    this.#with = options
    const { upload = '' } = options
    this.#poster = new Poster(({ body, token }, keepalive) =>
      // It may outlive all of this.
      limited(new AbortController().signal, (signal) => postTo(upload, body, token, { keepalive, signal })),
    )
    this.database = new RemoteDatabase({
      tab: this.#id,
      user: options.user ?? null,
      post: (message) => this.#post(message),
      now: () => performance.now(),
      leave: () => this.#leave(),
      closed: (wiped) => this.#closedForAll(wiped),
      stored: () => void this.#keep(),
      isVisible: () => document.visibilityState === 'visible',
    })
    this.#first = options.user === undefined && options.connect ? identify(this.#identity) : null
    this.#first?.catch(() => {})
    void this.#begin()
    const timer = setInterval(() => this.database.tick(), TICK_MS)
    this.#over.signal.addEventListener('abort', () => clearInterval(timer))
    this.#listen()
  }

  get #identity(): Parameters<typeof identify>[0] {
    const { token, subject } = this.#with
    return { auth: token, ...(subject === undefined ? {} : { subject }) }
  }

  async #begin(): Promise<void> {
    this.#beginWorker()
    if (this.#first) {
      const late = (): ProblemError => new ProblemError('network', 'no token')
      const subject = await within(this.#first, IDENTIFY_MS, late).then(
        ({ subject }) => subject,
        () => null,
      )
      setTimeout(() => (this.#first = null), FIRST_MS)
      this.database.user = subject
    }
    await this.#connect()
  }

  /** Says nothing before it holds the lock that shows the owner that it lives. */
  async #connect(): Promise<void> {
    const { file } = this.#with
    const held = Promise.withResolvers<() => void>()
    void navigator.locks.request(tabLock(file, this.#id), () => new Promise<void>((release) => held.resolve(release)))
    const release = await held.promise
    if (this.#over.signal.aborted || this.#isSuspended || this.#reach) return release()
    const answers = new BroadcastChannel(tabChannel(file, this.#id))
    const all = new BroadcastChannel(allChannel(file))
    this.#reach = { answers, all, requests: new BroadcastChannel(requestChannel(file)), release }
    answers.addEventListener('message', ({ data }: MessageEvent<ToTab>) => this.database.receive(data))
    all.addEventListener('message', ({ data }: MessageEvent<ToAll>) => this.database.receiveAll(data))
    this.database.hello()
  }

  #disconnect(): void {
    const reach = this.#reach
    this.#reach = null
    reach?.answers.close()
    reach?.all.close()
    reach?.requests.close()
    reach?.release()
    this.database.lost()
  }

  /** A worker reaches its own page directly, and that of another tab over the channels. */
  #post(message: ToOwner): void {
    if (!this.#reach) return
    if (this.#own !== null && ('hello' in message || message.owner === this.#own)) this.#toWorker(message)
    else this.#reach.requests.postMessage(message)
  }

  #toWorker(message: ToWorker): void {
    this.#worker?.postMessage(message)
  }

  #beginWorker(): void {
    const { token: _token, subject: _subject, upload, makeWorker, ...start } = this.#with
    let worker: Worker
    try {
      worker = makeWorker()
    } catch (error) {
      return this.#failed({ code: 'worker', message: `the worker could not be made: ${String(error)}` })
    }
    const id = crypto.randomUUID()
    this.#worker = worker
    this.#isAlive = false
    worker.addEventListener('message', ({ data }: MessageEvent<ToPage>) => void this.#fromWorker(worker, id, data))
    worker.addEventListener('error', (event) => {
      const message = event.message || 'the worker could not be loaded: is the option `worker` right?'
      if (!this.#isAlive && this.#ended === 0) this.#failed({ code: 'worker', message })
      else this.#again(worker)
    })
    this.#toWorker({
      start: {
        ...start,
        tab: this.#id,
        worker: id,
        opened: wasOpened(start.file),
        uploads: upload !== undefined,
        // Every engine of Apple's does both.
        isEvicted: suspendsHidden(navigator.vendor),
      },
    })
  }

  /** The file cannot be opened by this tab; another one may have it. */
  #failed(problem: SyncProblem): void {
    if (this.database.failedToOpen(problem)) this.#end()
  }

  #endWorker(): void {
    this.#poster.clear()
    this.#worker?.terminate()
    this.#worker = null
    this.#own = null
  }

  #again(worker: Worker): void {
    if (this.#worker !== worker) return
    this.#endWorker()
    setTimeout(
      () => {
        if (!this.#over.signal.aborted && !this.#isSuspended && !this.#worker) this.#beginWorker()
      },
      backoff(++this.#ended, AGAIN_MS),
    )
  }

  async #fromWorker(worker: Worker, id: string, message: ToPage): Promise<void> {
    if (this.#worker !== worker) return
    if ('toTab' in message) this.database.receive(message.toTab)
    else if ('toAll' in message) this.database.receiveAll(message.toAll)
    else if ('owns' in message) {
      this.#own = message.owns
      this.#ended = 0
      if (message.kind === 'opfs') remember(this.#with.file)
    } else if ('alive' in message) {
      this.#isAlive = true
      // We get its lock when it has gone.
      await navigator.locks.request(workerLock(this.#with.file, id), () => {})
      this.#again(worker)
    } else if ('failed' in message) this.#failed(message.failed)
    else if ('left' in message) this.#left()
    else if ('ended' in message) this.#endWorker()
    else this.#toWorker(await this.#answer(message))
  }

  async #answer(question: Extract<ToPage, { ask: number }>): Promise<ToWorker> {
    const answer = question.ask
    try {
      if ('post' in question) return { answer, response: await this.#poster.post(question.post) }
      const asked = this.#first ?? identify(this.#identity)
      this.#first = null
      return { answer, identity: await asked }
    } catch (error) {
      const code = error instanceof ProblemError ? error.code : 'network'
      return { answer, problem: { code, message: error instanceof Error ? error.message : String(error) } }
    }
  }

  #listen(): void {
    const { signal } = this.#over
    const page = { suspendsHidden: suspendsHidden(navigator.vendor) }
    const on = (target: EventTarget, name: string, event: () => PageEvent): void =>
      target.addEventListener(
        name,
        () => {
          for (const action of actionsOf(event(), { ...page, isSuspended: this.#isSuspended })) this.#act(action)
        },
        { signal },
      )
    on(document, 'visibilitychange', () => (document.visibilityState === 'visible' ? 'visible' : 'hidden'))
    for (const name of ['freeze', 'resume'] as const) on(document, name, () => name)
    for (const name of ['pagehide', 'pageshow', 'online'] as const) on(window, name, () => name)
  }

  #act(action: ReturnType<typeof actionsOf>[number]): void {
    if (action === 'wake') this.database.wake()
    else if (action === 'send') {
      this.#poster.lastChance()
      this.database.wake()
    } else if (action === 'suspend') {
      this.#isSuspended = true
      this.#disconnect()
      // Whatever it is doing: what was acknowledged is in the file, and the next owner is asked about the rest.
      this.#endWorker()
    } else {
      this.#isSuspended = false
      if (!this.#worker) this.#beginWorker()
      void this.#connect()
    }
  }

  /** Where nobody is asked for it, the browser promises not to delete what was written. */
  async #keep(): Promise<void> {
    if (!this.#asksToKeep) return
    this.#asksToKeep = false
    // Firefox asks the user, and that is for the application to begin.
    if (navigator.userAgent.includes('Firefox') || !navigator.storage?.persist) return
    const persisted = await navigator.storage.persist().catch(() => false)
    if (this.#own !== null) this.#toWorker({ persisted })
  }

  async #leave(): Promise<void> {
    if (this.#over.signal.aborted) return
    this.#poster.lastChance()
    if (this.#own !== null && this.#worker) {
      const left = new Promise<void>((resolve) => (this.#left = resolve))
      this.#toWorker({ leave: true })
      await Promise.race([left, new Promise((resolve) => setTimeout(resolve, LEAVE_MS))])
    }
    this.#end()
  }

  #closedForAll(wiped: boolean): void {
    if (wiped) forget(this.#with.file)
    // The worker that owns the file keeps it until the others have gone, and then says so.
    if (this.#own === null) this.#endWorker()
    this.#over.abort()
    this.#disconnect()
  }

  #end(): void {
    this.#over.abort()
    this.#endWorker()
    this.#disconnect()
  }
}

function wasOpened(file: string): boolean {
  try {
    return localStorage.getItem(mark(file)) !== null
  } catch {
    // There is no storage for this page: then the files themselves are looked for.
    return false
  }
}

function remember(file: string): void {
  try {
    localStorage.setItem(mark(file), new Date().toISOString())
  } catch {
    // As above.
  }
}

function forget(file: string): void {
  try {
    localStorage.removeItem(mark(file))
  } catch {
    // As above.
  }
}
