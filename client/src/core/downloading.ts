import type { SyncLine } from '../../../protocol/lines.ts'
import type { ComparingLine } from '../../../protocol/native.ts'
import type { SyncProgress, SyncState } from '../types.ts'
import { Connection, type OpenSocket } from './connection.ts'
import { backoff, ProblemError, problemOf } from './problem.ts'
import { sleep } from '../../../protocol/sleep.ts'
import { Renewal } from './renewal.ts'
import type { Tokens } from './token.ts'
import { isOtherUser } from './wait.ts'
import type { Wake } from './wake.ts'

/** The server asks to connect again: at once the first time, and later when it says so again and again. */
const RECONNECT_MS = 100
const SHORT_MS = 5_000
/** A live client stays live while it gets a checkpoint of no more ops, in no longer time. */
const LIVE_OPS = 1_000
const LIVE_MS = 1_000

/** What the lines of a connection say, beside the rows that they bring. */
export interface LineEvents {
  /** A checkpoint is announced. */
  begins(): void
  progress(progress: SyncProgress): void
  /** A whole checkpoint is applied. */
  complete(): void
  expires(seconds: number): void
  /**
   * How far the server's comparison is. A connection that has said nothing of it by its first checkpoint has said null.
   */
  comparing(fraction: number | null): void
}

export interface Stream {
  /** The first frame of the connection. */
  request: unknown
  /** In order, in the turn. Throws ProblemError when the connection has to begin anew. */
  line(line: SyncLine | ComparingLine): void
}

export interface DownloadingOptions {
  url: string
  /** Default: a WebSocket. */
  socket?: OpenSocket | undefined
  tokens: Tokens
  wake: Wake
  turn<T>(work: () => T): Promise<T>
  /** Called in the turn, for each connection. */
  open(events: LineEvents): Stream
  /** A whole checkpoint is applied; `first`: of this connection. Called in the turn. */
  complete(first: boolean): void
  state(): SyncState
  setState(state: SyncState): void
  comparing(fraction: number | null): void
}

/** The server's word about the token. */
const isRefusal = (code: string): boolean => code === 'auth' || code.startsWith('PSYNC_S21')
const isAboutToken = (code: string): boolean => code === 'signed_out' || code === 'other_user' || isRefusal(code)

/** Keeps a stream open, again and again. */
export class Downloading {
  readonly #with: DownloadingOptions
  #anew = new AbortController()

  constructor(options: DownloadingOptions) {
    this.#with = options
  }

  /** What a connection asks for has changed: there is another one at once, which goes on where this one was. */
  reconnect(): void {
    this.#anew.abort()
  }

  /** Until `signal` is aborted. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#run(signal)
    this.#with.comparing(null)
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { setState, tokens, wake } = this.#with
    for (let attempt = 0, again = 0, refusals = 0; !signal.aborted;) {
      // Of another user's database nothing else is said until his token has been replaced.
      if (!isOtherUser(this.#with.state())) setState({ state: 'connecting' })
      const began = performance.now()
      const anew = (this.#anew = new AbortController())
      let wait: number
      try {
        await this.#once(AbortSignal.any([signal, anew.signal]), () => (attempt = refusals = 0))
        if (anew.signal.aborted) continue
        again = performance.now() - began < SHORT_MS ? again + 1 : 1
        wait = backoff(again, RECONNECT_MS)
      } catch (error) {
        if (signal.aborted) return
        if (anew.signal.aborted) continue
        // Nobody says how far it is. A connection that the server wants anew says it in a moment.
        this.#with.comparing(null)
        wait = backoff(++attempt)
        const problem = problemOf(error)
        if (isAboutToken(problem.code)) {
          tokens.forget()
          // A token may have expired unseen: while the device slept, while `auth` could not be reached. What the next
          // one is worth is seen first.
          if (!isRefusal(problem.code) || refusals++ > 0) setState({ state: 'needs-auth', error: problem })
        } else setState({ state: 'error', error: problem, retryAt: Date.now() + wait })
      }
      const woken = wake.signal(signal)
      await sleep(wait, woken.signal)
      woken.done()
    }
  }

  async #once(signal: AbortSignal, worked: () => void): Promise<void> {
    const { url, socket, tokens, wake, turn, state, setState } = this.#with
    const token = await tokens.get(signal)
    if (isOtherUser(state())) setState({ state: 'connecting' })
    const over = new AbortController()
    let before: SyncState | null = null
    const renewal = new Renewal({
      token: () => {
        tokens.forget()
        return tokens.get(signal)
      },
      send: (fresh) => connection.renew(fresh),
      // The stream goes on until the token has expired; of another user there is nothing to wait for.
      failed: (error) => {
        if (error instanceof ProblemError && error.code === 'other_user') return connection.fail(error)
        const problem = problemOf(error)
        if (!isAboutToken(problem.code)) return
        if (state().state !== 'needs-auth') before = state()
        setState({ state: 'needs-auth', error: problem })
      },
      renewed: () => {
        if (before && state().state === 'needs-auth') setState(before)
      },
      signal: AbortSignal.any([signal, over.signal]),
    })
    let since = performance.now()
    let first = true
    const { request, line } = await turn(() =>
      this.#with.open({
        progress: (progress) => {
          const brief = progress.total <= LIVE_OPS && performance.now() - since <= LIVE_MS
          if (state().state !== 'live' || !brief) setState({ state: 'syncing', progress })
        },
        begins: () => (since = performance.now()),
        complete: () => {
          worked()
          this.#with.complete(first)
          first = false
          setState({ state: 'live' })
        },
        comparing: this.#with.comparing,
        expires: (seconds) => renewal.expires(seconds),
      }),
    )
    const connection = new Connection({ url, socket, token, request, signal, line: (each) => turn(() => line(each)) })
    const off = wake.on(() => connection.check())
    try {
      await connection.run()
    } finally {
      off()
      over.abort()
    }
  }
}
