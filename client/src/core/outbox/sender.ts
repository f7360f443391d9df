import { sleep } from '../../../../protocol/sleep.ts'
import type { Sqlite } from '../../sqlite/sqlite.ts'
import type { SyncProblem } from '../../types.ts'
import { problemOf } from '../problem.ts'
import { get, put } from '../store/layout.ts'
import type { StoredTable } from '../store/tables.ts'
import type { Wake } from '../wake.ts'
import { readAnswer, type Answer, type UploadResponse } from './answer.ts'
import { storeAnswer, storeCheckpoint, storeTooLarge, unconfirmedUpTo, type Stored } from './decide.ts'
import { failedTransactions, type FailedTransaction } from './failed.ts'
import { clientId, MAX_TRANSACTIONS, nextRequest, type UploadRequest } from './request.ts'

// Sends the queue, one request at a time, by the contract of uploads. What decides is in `answer.ts` and `decide.ts`;
// here is when something is sent, and what is said about it.

/**
 * After so many accepted transactions, or so long, their write checkpoint is asked for although more wait: until it has
 * come they hide what others write.
 */
export const UNASKED_TRANSACTIONS = 50
export const UNASKED_MS = 2_000
/** A write checkpoint that has not come after so long is asked for anew: its marker may be lost. */
export const UNCONFIRMED_MS = 20_000
const FIRST_MS = 1_000
const LONGEST_MS = 60_000
/**
 * So many answers in an hour that decided nothing, and the application is told that uploads are blocked. They go on.
 */
export const BLOCKED_ANSWERS = 20
const HOUR_MS = 3_600_000
/** A single transaction is given up when it was answered 413 so often. */
const TOO_LARGE_ANSWERS = 2

export type UploadState =
  | { state: 'idle' }
  | { state: 'sending' }
  /** `retryAt` in milliseconds since 1970. `blocked`: for long nothing was decided. */
  | { state: 'waiting' | 'blocked'; error: SyncProblem; attempts: number; retryAt: number }

export interface SenderPorts {
  readonly db: Sqlite
  readonly wake: Wake
  tables(): ReadonlyMap<string, StoredTable>
  turn<T>(work: () => T): Promise<T>
  /** What was committed is on the disk when it returns. Called in the turn. */
  flush(): void
  /** Posts the body with a token. Throws ProblemError when nothing came back, within its own deadline. */
  post(body: string, signal: AbortSignal): Promise<UploadResponse>
  /** The token was refused. */
  refused(): void
  /** A number that comes back in a checkpoint which contains everything that was accepted before. */
  checkpoint(clientId: string, signal: AbortSignal): Promise<number>
  /** The stream shows the newest checkpoint, so what is accepted could have been confirmed. */
  isLive(): boolean
  /** Called in the turn. */
  changed(tables: ReadonlySet<string>): void
  failed(transactions: readonly FailedTransaction[]): void
  /** Unsent writes have new ids. Told before any of them is sent. */
  reset(): void
  state(state: UploadState): void
  /** Milliseconds since 1970. */
  now(): number
  random(): number
}

export class Sender {
  readonly #with: SenderPorts
  #wanted = Promise.withResolvers<void>()
  /** Transactions of the next request. */
  #limit = MAX_TRANSACTIONS
  /**
   * The first request of a connection is made without transactions too, to hear what the operator wants to have again.
   */
  #hello = true
  #tooLarge = 0
  /** When answers came that decided nothing. */
  #undecided: number[] = []
  #attempts = 0
  #unasked = { count: 0, since: 0 }
  #asked = 0

  constructor(ports: SenderPorts) {
    this.#with = ports
  }

  /** There is something to upload. */
  want(): void {
    this.#wanted.resolve()
  }

  /** Until `signal` is aborted. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    this.#hello = true
    this.#limit = MAX_TRANSACTIONS
    while (!signal.aborted) {
      this.#wanted = Promise.withResolvers()
      try {
        await this.#round(signal)
      } catch (error) {
        if (signal.aborted) break
        await this.#wait(problemOf(error), null, signal)
      }
    }
    this.#with.state({ state: 'idle' })
  }

  async #round(signal: AbortSignal): Promise<void> {
    await this.#announceReset()
    const request = await this.#with.turn(() => {
      const next = nextRequest(this.#with.db, { limit: this.#limit, hello: this.#hello })
      // Of what the request says nothing may be taken back by a power cut.
      if (next) this.#with.flush()
      return next
    })
    if (request === null) return this.#idle(signal)
    this.#with.state({ state: 'sending' })
    const response = await this.#with.post(request.body, signal)
    await this.#answered(request, response, signal)
  }

  async #answered(request: UploadRequest, response: UploadResponse, signal: AbortSignal): Promise<void> {
    const answer = readAnswer(response, request.ids)
    if (answer.kind === 'decided') {
      this.#hello = false
      this.#tooLarge = 0
      const stored = await this.#store(() =>
        storeAnswer(this.#with.db, this.#with.tables(), answer, response.body, this.#with.now()),
      )
      if (stored.decisions > 0 || request.ids.length === 0) {
        this.#attempts = 0
        this.#undecided = []
      } else this.#noteUndecided()
      const accepted = answer.verdicts.filter(({ result }) => result === 'accepted').length
      if (answer.writeCheckpoint === null) await this.#ask(accepted, signal)
      if (stored.after !== null)
        await this.#wait({ code: stored.reason ?? 'retry', message: 'the server wants it again' }, stored.after, signal)
      return
    }
    if (answer.kind === 'too_large' && (await this.#halve(request))) return
    await this.#nothing(answer, signal)
  }

  /** False: even so it cannot be made smaller. */
  async #halve({ ids }: UploadRequest): Promise<boolean> {
    const [only] = ids
    if (ids.length > 1) this.#limit = Math.ceil(ids.length / 2)
    else if (only === undefined) return false
    else if (++this.#tooLarge >= TOO_LARGE_ANSWERS) {
      this.#tooLarge = 0
      await this.#store(() => storeTooLarge(this.#with.db, this.#with.tables(), only, this.#with.now()))
    }
    return true
  }

  async #nothing(answer: Exclude<Answer, { kind: 'decided' }>, signal: AbortSignal): Promise<void> {
    this.#noteUndecided()
    if (answer.kind === 'undecided') return this.#wait(answer.problem, answer.after, signal)
    if (answer.kind === 'too_large')
      return this.#wait({ code: 'upload_answer', message: 'the upload was answered 413' }, null, signal)
    this.#with.refused()
    await this.#wait({ code: 'auth', message: 'the upload was answered 401' }, this.#attempts === 0 ? 0 : null, signal)
  }

  #noteUndecided(): void {
    const now = this.#with.now()
    this.#undecided = [...this.#undecided.filter((at) => now - at < HOUR_MS), now]
  }

  async #store(work: () => Stored): Promise<Stored> {
    const { db, turn, changed, failed } = this.#with
    const { stored, transactions } = await turn(() => {
      const stored = work()
      changed(stored.changed)
      const ids = new Set(stored.failed)
      return { stored, transactions: ids.size === 0 ? [] : failedTransactions(db).filter(({ id }) => ids.has(id)) }
    })
    if (transactions.length > 0) failed(transactions)
    return stored
  }

  /** `client_reset` is in the file until it was told. */
  async #announceReset(): Promise<void> {
    const { db, turn, reset } = this.#with
    if (!(await turn(() => Number(get(db, 'client_reset') ?? 0) > 0))) return
    reset()
    await turn(() => put(db, 'client_reset', 0))
  }

  /** The queue is empty. */
  async #idle(signal: AbortSignal): Promise<void> {
    this.#hello = false
    const unconfirmed = await this.#confirm(signal)
    this.#attempts = 0
    this.#with.state({ state: 'idle' })
    const over = new AbortController()
    const wanted = this.#wanted.promise
    const waiting = unconfirmed ? sleep(UNCONFIRMED_MS, over.signal) : new Promise<void>(() => {})
    const stop = Promise.withResolvers<void>()
    const abort = (): void => stop.resolve()
    // Stopped meanwhile: its event has been.
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort)
    await Promise.race([wanted, waiting, stop.promise])
    over.abort()
    signal.removeEventListener('abort', abort)
  }

  /**
   * Asks for the write checkpoint of what is accepted, when there is none or it should have come long ago. Answers
   * whether something is unconfirmed afterwards.
   */
  async #confirm(signal: AbortSignal): Promise<boolean> {
    const { db, turn, now, isLive } = this.#with
    if ((await turn(() => unconfirmedUpTo(db))) !== null) await this.#askNow(signal)
    const late = await turn(
      () => db.prepare("SELECT max(seq) FROM rp_tx WHERE state = 'accepted'").all()[0]?.[0] ?? null,
    )
    if (late === null) return false
    if (isLive() && now() - this.#asked > UNCONFIRMED_MS) {
      await turn(() => db.prepare("UPDATE rp_tx SET target = NULL WHERE state = 'accepted'").run())
      await this.#askNow(signal)
    }
    return true
  }

  /** In the middle of a long queue. */
  async #ask(accepted: number, signal: AbortSignal): Promise<void> {
    if (accepted === 0) return
    if (this.#unasked.count === 0) this.#unasked.since = this.#with.now()
    this.#unasked.count += accepted
    if (this.#unasked.count < UNASKED_TRANSACTIONS && this.#with.now() - this.#unasked.since < UNASKED_MS) return
    // The queue does not depend on it, and its end asks again.
    await this.#askNow(signal).catch(() => {})
  }

  async #askNow(signal: AbortSignal): Promise<void> {
    const { db, turn, checkpoint, changed, tables, now } = this.#with
    const { upTo, client } = await turn(() => ({ upTo: unconfirmedUpTo(db), client: clientId(db) }))
    this.#unasked.count = 0
    if (upTo === null) return
    const target = await checkpoint(client, signal)
    this.#asked = now()
    await turn(() => changed(storeCheckpoint(db, tables(), upTo, target)))
  }

  /** `after`: seconds, as the server wishes. Ends early when the device wakes. */
  async #wait(error: SyncProblem, after: number | null, signal: AbortSignal): Promise<void> {
    const { wake, now, random, state } = this.#with
    const wait =
      after === null ? random() * Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(this.#attempts, 10)) : after * 1_000
    this.#attempts++
    const blocked = this.#undecided.length >= BLOCKED_ANSWERS
    state({ state: blocked ? 'blocked' : 'waiting', error, attempts: this.#attempts, retryAt: now() + wait })
    const woken = wake.signal(signal)
    await sleep(wait, woken.signal)
    woken.done()
  }
}

/** For the ports: what a `fetch` answered. `body` is read within the deadline of the caller. */
export async function responseOf(response: Response): Promise<UploadResponse> {
  const seconds = Number(response.headers.get('retry-after') ?? NaN)
  return {
    status: response.status,
    contentType: response.headers.get('content-type') ?? '',
    redirected: response.redirected || response.type === 'opaqueredirect',
    body: await response.text(),
    retryAfter: Number.isFinite(seconds) && seconds >= 0 ? seconds : null,
  }
}
