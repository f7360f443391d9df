import { RockpoolError } from '../../../protocol/errors.ts'
import { delay } from './delay.ts'

/**
 * How a session ended without an error. `restart`: the next one follows at once. `idle`: it took in everything, and no
 * client is connected.
 */
export type SessionEnd = 'restart' | 'idle'

const ended = () => new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', 'the session is over')

/**
 * What a session knows of itself, with the transitions that it may make.
 *
 * It begins by catching up, is caught up when its own mark has come back through the stream, and is settled when
 * nothing is being compared either. It ends
 * - by closing: everything is taken in, and no client is connected (`tryToClose`);
 * - by restarting: the next one follows after the round of tasks that is under way (`restartAfterRound`), as soon as
 *   that can be interrupted (`restart`), or at once (`leave`);
 * - by failing (`fail`), or because nobody waits for it any more (`abandon`).
 */
export class SessionState {
  readonly began = Date.now()
  /** What the session waits for, as text for people. */
  waitingFor: string | null = null
  /** A change was stored that was not only a mark of ours. */
  hasStoredChanges = false
  #isCaughtUp = false
  #isSettled = false
  #mustRestart = false
  #isClosing = false
  /** Somebody waits for what was committed after the session's own mark. */
  #catchUpRequested = false
  /** When a client was connected last, in ms since 1970. */
  #liveAt: number | null = null
  readonly #failure = Promise.withResolvers<never>()
  readonly #ending = Promise.withResolvers<void>()
  readonly #leaving = Promise.withResolvers<SessionEnd>()
  readonly #abort = new AbortController()
  #woken = Promise.withResolvers<void>()

  constructor() {
    this.failure.catch(() => {})
  }

  /** Everything that was committed before the session's own mark is taken in. */
  get isCaughtUp(): boolean {
    return this.#isCaughtUp
  }

  get isSettled(): boolean {
    return this.#isSettled
  }

  get mustRestart(): boolean {
    return this.#mustRestart
  }

  get isClosing(): boolean {
    return this.#isClosing
  }

  /** Rejects when the session has failed or was abandoned. */
  get failure(): Promise<never> {
    return this.#failure.promise
  }

  /** Resolves when the session is about to end. */
  get ending(): Promise<void> {
    return this.#ending.promise
  }

  /** Resolves when the session ends at once, without waiting for the task that is under way. */
  get leaving(): Promise<SessionEnd> {
    return this.#leaving.promise
  }

  /** Aborted when nobody waits for the session any more. */
  get signal(): AbortSignal {
    return this.#abort.signal
  }

  catchUp(): void {
    this.#isCaughtUp = true
  }

  settle(): void {
    this.#isSettled = true
  }

  /**
   * Returns `closing` when the session is ending already, so that another one must follow. Otherwise it ends only after
   * everything that is committed by now has come.
   */
  requestCatchUp(): 'accepted' | 'closing' {
    this.#catchUpRequested = true
    return this.#isClosing ? 'closing' : 'accepted'
  }

  /**
   * Returns `requested` when somebody waits for what was committed since the last mark: the session catches up again,
   * with another mark.
   */
  tryToClose(): 'closing' | 'requested' {
    this.#isClosing = !this.#catchUpRequested
    if (this.#isClosing) return 'closing'
    this.#catchUpRequested = false
    this.#isCaughtUp = false
    return 'requested'
  }

  /** Returns whether a client is connected, or was within the last `lingerMs`. */
  isWanted(isLive: boolean, lingerMs: number): boolean {
    if (isLive) {
      this.#liveAt = Date.now()
      return true
    }
    return this.#liveAt !== null && Date.now() - this.#liveAt < lingerMs
  }

  /** The session has taken in as much as one may: it waits for nothing any more. */
  end(): void {
    this.#ending.resolve()
  }

  restartAfterRound(): void {
    this.#mustRestart = true
  }

  restart(): void {
    this.#mustRestart = true
    this.end()
  }

  leave(): void {
    this.#leaving.resolve('restart')
  }

  fail(error: unknown): void {
    this.#failure.reject(error)
  }

  close(): void {
    this.#isClosing = true
  }

  /** Whatever still waits for an answer rejects, and does not continue. Returns the error that it gets. */
  abandon(): RockpoolError {
    const error = ended()
    this.close()
    this.fail(error)
    this.#abort.abort(error)
    return error
  }

  /**
   * Code that resumes after an `await` may outlive its session, and must stop then: another session is at work. Throws
   * ROCKPOOL_SOURCE_UNREACHABLE.
   */
  assertOpen(): void {
    if (this.#isClosing) throw ended()
  }

  /** A round of tasks begins: from now on `woken` waits for the next `wake`. */
  beginRound(): void {
    this.#woken = Promise.withResolvers()
  }

  /** The next round begins without a pause. */
  wake(): void {
    this.#woken.resolve()
  }

  get woken(): Promise<void> {
    return this.#woken.promise
  }

  /** Rejects when the session is over. */
  pause(milliseconds: number): Promise<void> {
    return delay(milliseconds, this.failure)
  }
}
