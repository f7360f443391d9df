import { ProblemError } from '../core/problem.ts'
import { closed } from '../core/database/until.ts'
import type { SyncProblem } from '../types.ts'
import type { Request, ToOwner } from './messages.ts'

// The calls of a tab that are not answered. Every one of them ends, whatever happens to the owner, and what it says of
// a write is true.

/** A call that is not answered for so long, by an owner that is not busy, is taken back. */
export const DEADLINE_MS = 30_000
/** And so long its owner has to say whether that came in time. */
export const CANCEL_MS = 30_000

type Kind = 'read' | 'write' | 'transaction' | 'wait'

const KINDS: Record<Request['do'], Kind> = {
  query: 'read',
  failed: 'read',
  fate: 'read',
  batch: 'write',
  commit: 'write',
  begin: 'write',
  execute: 'transaction',
  read: 'transaction',
  rollback: 'transaction',
  watch: 'wait',
  stream: 'wait',
  retry: 'wait',
  edit: 'wait',
  dismiss: 'wait',
  connect: 'wait',
  disconnect: 'wait',
  signOut: 'wait',
  wipe: 'wait',
}

interface Pending {
  /** Another one each time that it is sent: what an attempt before is answered does not count. */
  n: number
  request: Request
  done(result: unknown): void
  failed(error: Error): void
  /** An owner may have got it. */
  posted: boolean
  since: number
  /** When it was taken back, and why. */
  cancelled: { at: number; reason: Error } | null
}

export const ownerLost = (): ProblemError =>
  new ProblemError(
    'owner_lost',
    'the tab that had the database open has gone; the transaction was not stored, so it can be run again',
  )
const notStored = (why: string): ProblemError => new ProblemError('not_stored', `${why}; the write was not stored`)
const isNotStored = (error: Error): boolean => error instanceof ProblemError && error.code === 'not_stored'

export interface CallsOptions {
  tab: string
  post(message: ToOwner): void
  /** Milliseconds, by a clock that never goes back. */
  now(): number
}

export class Calls {
  readonly #with: CallsOptions
  readonly #pending = new Map<number, Pending>()
  /** Attempts to begin a transaction that nobody waits for any more: what one of them has begun is rolled back. */
  readonly #abandoned = new Set<number>()
  #last = 0
  #owner: string | null = null
  #busy = -Infinity

  constructor(options: CallsOptions) {
    this.#with = options
  }

  get owner(): string | null {
    return this.#owner
  }

  /** When the oldest call was made that an owner should have answered; null: none waits. */
  get waitingSince(): number | null {
    const times = [...this.#pending.values()].flatMap(({ request, posted, since }) =>
      posted && KINDS[request.do] !== 'wait' ? [since] : [],
    )
    return times.length === 0 ? null : Math.min(...times)
  }

  /** Sends it to the owner, or as soon as there is one. An aborted `signal` takes it back. */
  call<T>(request: Request, signal?: AbortSignal): Promise<T> {
    const n = ++this.#last
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    const pending: Pending = {
      n,
      request,
      done: resolve,
      failed: reject,
      posted: false,
      since: this.#with.now(),
      cancelled: null,
    }
    this.#pending.set(n, pending)
    const stop = (): void => this.#cancel(pending, signal?.reason instanceof Error ? signal.reason : aborted())
    if (signal?.aborted) stop()
    else {
      this.#send(pending)
      signal?.addEventListener('abort', stop)
    }
    return (promise as Promise<T>).finally(() => signal?.removeEventListener('abort', stop))
  }

  answer(n: number, answer: { result: unknown } | { problem: SyncProblem }): void {
    const pending = this.#pending.get(n)
    this.#pending.delete(n)
    if (this.#abandoned.delete(n) && 'result' in answer && typeof answer.result === 'string')
      this.call({ do: 'rollback', tx: answer.result }).catch(() => {})
    if (!pending) return
    if ('result' in answer) return pending.done(answer.result)
    const error = new ProblemError(answer.problem.code, answer.problem.message)
    pending.failed(pending.cancelled && isNotStored(error) ? pending.cancelled.reason : error)
  }

  /**
   * This one owns the database now. What changes nothing, or has a name, is sent again. An open transaction is lost
   * with its owner; of one that was being committed or taken back the new owner knows whether it is in the file.
   */
  to(owner: string): void {
    this.#owner = owner
    const now = this.#with.now()
    for (const [n, pending] of [...this.#pending]) {
      const { request, cancelled, posted } = pending
      const isLost = request.do === 'execute' || request.do === 'read' || request.do === 'rollback'
      if (isLost || (request.do === 'commit' && !posted)) this.#end(n, (each) => each.failed(ownerLost()))
      else if (posted && (request.do === 'commit' || (request.do === 'batch' && cancelled))) this.#ask(n, request.write)
      else if (cancelled) this.#end(n, (each) => each.failed(cancelled.reason))
      else {
        this.#abandon(pending)
        pending.since = now
        this.#pending.delete(n)
        pending.n = ++this.#last
        this.#pending.set(pending.n, pending)
        this.#send(pending)
      }
    }
  }

  /** There is no owner, or nobody knows one. */
  lost(): void {
    this.#owner = null
  }

  /** The owner works and answers later. */
  busy(): void {
    this.#busy = this.#with.now()
  }

  /** Called about once in a second. */
  tick(): void {
    const now = this.#with.now()
    for (const [n, pending] of [...this.#pending]) {
      const kind = KINDS[pending.request.do]
      if (kind === 'wait') continue
      if (pending.cancelled) {
        if (now - Math.max(pending.cancelled.at, this.#busy) >= CANCEL_MS)
          this.#end(n, (each) => each.failed(fateless(pending.request, pending.cancelled?.reason)))
      } else if (now - Math.max(pending.since, this.#busy) >= DEADLINE_MS) {
        const late = `nobody answered within ${DEADLINE_MS / 1_000} seconds`
        this.#cancel(pending, kind === 'write' ? notStored(late) : new ProblemError('timeout', late))
      }
    }
  }

  end(why?: string): void {
    for (const n of [...this.#pending.keys()]) this.#end(n, (each) => each.failed(closed(why)))
  }

  #send(pending: Pending): void {
    if (this.#owner === null) return
    pending.posted = true
    this.#with.post({ tab: this.#with.tab, owner: this.#owner, call: pending.n, request: pending.request })
  }

  /** A write that may have been stored ends only when somebody knows. */
  #cancel(pending: Pending, reason: Error): void {
    const { n } = pending
    if (pending.cancelled || this.#pending.get(n) !== pending) return
    pending.cancelled = { at: this.#with.now(), reason }
    if (pending.posted && this.#owner !== null) this.#with.post({ tab: this.#with.tab, owner: this.#owner, cancel: n })
    if (!pending.posted || KINDS[pending.request.do] !== 'write') this.#end(n, (each) => each.failed(reason))
  }

  /** The new owner says what became of a write. */
  #ask(n: number, write: string): void {
    const pending = this.#pending.get(n)
    this.#pending.delete(n)
    if (!pending) return
    const reason = pending.cancelled?.reason ?? ownerLost()
    this.call<{ id: string; value: number[] } | null>({ do: 'fate', write }).then(
      (stored) => (stored === null ? pending.failed(reason) : pending.done(stored)),
      (error: Error) => pending.failed(isLate(error) ? unknown(pending.request) : error),
    )
  }

  #end(n: number, how: (pending: Pending) => void): void {
    const pending = this.#pending.get(n)
    this.#pending.delete(n)
    if (!pending) return
    this.#abandon(pending)
    how(pending)
  }

  #abandon({ n, request, posted }: Pending): void {
    if (request.do === 'begin' && posted) this.#abandoned.add(n)
  }
}

const isLate = (error: Error): boolean => error instanceof ProblemError && error.code === 'timeout'
const aborted = (): ProblemError => new ProblemError('aborted', 'it was aborted')
/** What was only begun is not stored. */
const fateless = (request: Request, reason?: Error): Error =>
  request.do === 'begin' && reason ? reason : unknown(request)
const unknown = (request: Request): ProblemError =>
  new ProblemError(
    'fate_unknown',
    'nobody says whether the write was stored: ask later with `fate` and the `call` of this error',
    'write' in request ? { call: request.write } : {},
  )
