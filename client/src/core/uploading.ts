import type { FailedWrite, SyncOptions, UploadProblem, UploadResult, UploadTransaction } from '../types.ts'
import * as outbox from './outbox.ts'
import { backoff, ProblemError, problemOf } from './problem.ts'
import { sleep } from '../../../protocol/sleep.ts'
import type { Sqlite } from './sqlite.ts'
import { clientId } from './storage.ts'
import type { Tokens } from './token.ts'
import { postTransaction, writeCheckpoint } from './uploader.ts'
import type { Wake } from './wake.ts'
import { within } from './within.ts'

/** So long an answer may take. */
export const UPLOAD_MS = 60_000
/**
 * After so many accepted transactions, or so long, their write checkpoint is asked for although more wait: until it has
 * come they hide what others write.
 */
export const UNASKED_TRANSACTIONS = 50
const UNASKED_MS = 2_000

export interface UploadingOptions {
  db: Sqlite
  options: SyncOptions
  tokens: Tokens
  wake: Wake
  turn<T>(work: () => T): Promise<T>
  /** Called in the turn. */
  changed(tables: ReadonlySet<string>): void
  failedWrite(write: FailedWrite): void
  /** What the last attempt had to complain about. */
  told(problem: UploadProblem | null): void
}

/** Uploads the queue in order, and asks for the write checkpoints that confirm it. */
export class Uploading {
  readonly #with: UploadingOptions
  #wanted: () => void = () => {}
  /** An answer that could not be stored (disk full): the transaction is not sent again for it. */
  #answered: { id: number; result: UploadResult } | null = null
  #asking: Promise<void> | null = null
  /** This outage has been told on the console. */
  #warned = false

  constructor(options: UploadingOptions) {
    this.#with = options
  }

  /** There is something to upload. */
  want(): void {
    this.#wanted()
  }

  /** Until `signal` is aborted. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { options, told } = this.#with
    if (!options.upload && options.uploadUrl === undefined) return
    await this.#run(signal)
    told(null)
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { told, wake } = this.#with
    for (let attempts = 0; !signal.aborted;) {
      const wanted = Promise.withResolvers<void>()
      this.#wanted = () => wanted.resolve()
      const stop = this.#wanted
      signal.addEventListener('abort', stop)
      try {
        await this.#all(signal)
        attempts = 0
        this.#warned = false
        told(null)
        await wanted.promise
      } catch (error) {
        if (signal.aborted) return
        const problem = problemOf(error)
        const wait = backoff(++attempts)
        told({ error: problem, attempts, retryAt: Date.now() + wait })
        if (!this.#warned) console.warn(`rockpool: an upload failed and is tried again: ${problem.message}`)
        this.#warned = true
        const woken = wake.signal(signal)
        await sleep(wait, woken.signal)
        woken.done()
      } finally {
        signal.removeEventListener('abort', stop)
      }
    }
  }

  async #all(signal: AbortSignal): Promise<void> {
    const { db, turn } = this.#with
    let unasked = 0
    let since = performance.now()
    for (;;) {
      const next = await turn(() => outbox.nextUpload(db))
      if (!next || signal.aborted) break
      const id = next.transaction.transaction_id
      const result = this.#answered?.id === id ? this.#answered.result : await this.#send(next, signal)
      this.#answered = { id, result }
      await this.#store(next.transaction, result)
      this.#answered = null
      if (result.result !== 'accepted') continue
      if (unasked++ === 0) since = performance.now()
      if (unasked < UNASKED_TRANSACTIONS && performance.now() - since < UNASKED_MS) continue
      unasked = 0
      // The queue does not wait for it, and the end of the queue asks again.
      this.#asking ??= this.#ask(signal)
        .catch(() => {})
        .finally(() => (this.#asking = null))
    }
    await this.#asking
    await this.#ask(signal)
  }

  async #send(next: { transaction: UploadTransaction; body: string }, signal: AbortSignal): Promise<UploadResult> {
    const { upload, uploadUrl } = this.#with.options
    return this.#withToken(signal, (token, limited) =>
      upload
        ? upload(next.transaction, { token, signal: limited })
        : postTransaction(uploadUrl ?? '', next.body, token, limited),
    )
  }

  async #store({ transaction_id: id, ops }: UploadTransaction, result: UploadResult): Promise<void> {
    const { db, options, turn, changed, failedWrite } = this.#with
    if (result.result === 'accepted') {
      await turn(() => {
        outbox.accepted(db, id)
        changed(new Set())
      })
      return
    }
    const error = { code: result.code, message: result.message }
    await turn(() => changed(outbox.rejected(db, options.schema, id, error)))
    failedWrite({ transactionId: id, failedAt: Date.now(), error, ops })
  }

  /** Asks for the write checkpoint of what is accepted. */
  async #ask(signal: AbortSignal): Promise<void> {
    const { db, options, turn, changed } = this.#with
    const { upTo, client } = await turn(() => ({ upTo: outbox.unconfirmedUpTo(db), client: clientId(db) }))
    if (upTo === null || signal.aborted) return
    const n = await this.#withToken(signal, (token, limited) => writeCheckpoint(options, client, token, limited))
    await turn(() => changed(outbox.setTarget(db, options.schema, upTo, n)))
  }

  async #withToken<T>(signal: AbortSignal, request: (token: string, limited: AbortSignal) => Promise<T>): Promise<T> {
    const { tokens } = this.#with
    const token = await tokens.get(signal)
    const given = new AbortController()
    const late = (): ProblemError => new ProblemError('network', `no answer within ${UPLOAD_MS / 1_000} seconds`)
    try {
      const work = (async () => request(token, AbortSignal.any([signal, given.signal])))()
      return await within(work, UPLOAD_MS, late, signal)
    } catch (error) {
      if (error instanceof ProblemError && error.code === 'auth') tokens.forget()
      throw error
    } finally {
      given.abort()
    }
  }
}
