import { ProblemError } from '../core/problem.ts'
import type { SyncProblem } from '../types.ts'
import type { Call, TabMessage } from './messages.ts'

interface Pending {
  request: Call
  done: (result: unknown) => void
  failed: (error: Error) => void
}

export const closedProblem = (why = 'the database is closed'): ProblemError => new ProblemError('closed', why)

export const ownerLost = (): ProblemError =>
  new ProblemError(
    'owner_lost',
    'the tab that owned the database has gone; the transaction was not stored, so it can be run again',
  )

/** The calls of a tab that the owner has not answered yet. */
export class Calls {
  readonly #tab: string
  readonly #post: (message: TabMessage) => void
  readonly #pending = new Map<number, Pending>()
  #last = 0
  #owner: string | null = null
  /** The user of the tab, or null until it is known. */
  user: string | null = null

  constructor(tab: string, post: (message: TabMessage) => void) {
    this.#tab = tab
    this.#post = post
  }

  get owner(): string | null {
    return this.#owner
  }

  /** Sends a call to the owner, or waits for one. */
  call<T>(request: Call): Promise<T> {
    const id = ++this.#last
    return new Promise<T>((done, failed) => {
      this.#pending.set(id, { request, done: (result) => done(result as T), failed })
      this.#send(id, request)
    })
  }

  answer(id: number, answer: { result: unknown } | { problem: SyncProblem }): void {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    if ('problem' in answer) pending?.failed(new ProblemError(answer.problem.code, answer.problem.message))
    else pending?.done(answer.result)
  }

  /**
   * Another tab owns the database now. Calls that change nothing are sent again. An open transaction is lost with its
   * owner. For one that was being committed the new owner knows whether it is in the file. The tab starts its live
   * queries again.
   */
  to(owner: string): void {
    this.#owner = owner
    for (const [id, { request, done, failed }] of [...this.#pending]) {
      if ('tx' in request) {
        this.#pending.delete(id)
        if (request.call !== 'commit') failed(ownerLost())
        else
          this.call<boolean>({ call: 'fate', write: request.write }).then(
            (stored) => (stored ? done(undefined) : failed(ownerLost())),
            failed,
          )
      } else if (request.call === 'live') this.#pending.delete(id)
      else this.#send(id, request)
    }
  }

  end(why: string): void {
    for (const { failed } of this.#pending.values()) failed(closedProblem(why))
    this.#pending.clear()
  }

  #send(id: number, request: Call): void {
    if (this.#owner !== null)
      this.#post({ to: 'owner', owner: this.#owner, tab: this.#tab, user: this.user, id, request })
  }
}
