import { ProblemError } from './problem.ts'

/** Where it is stored whose a database is. */
export interface UserStore {
  get(): string | null
  put(user: string): void
}

/**
 * Whose database this is, and whether he is who works with it now. It is bound once, by the option `user` or by the
 * subject of the first token, and until it is wiped nobody else reads from it, writes into it or sends what is in it.
 */
export class User {
  readonly #store: UserStore
  /** Who opened it, as the application says. */
  readonly #named: string | null
  /** Whose the last token is. */
  #seen: string | null = null
  #bound: string | null

  constructor(store: UserStore, named: string | undefined) {
    this.#store = store
    this.#named = named ?? null
    this.#bound = store.get()
    if (this.#named !== null && this.#bound === null) this.#bind(this.#named)
  }

  get bound(): string | null {
    return this.#bound
  }

  /** The application says that somebody else is here. No token changes that. */
  get foreign(): boolean {
    return this.#named !== null && this.#named !== this.#bound
  }

  /** Somebody else is here, or his token. */
  get locked(): boolean {
    return this.foreign || (this.#seen !== null && this.#seen !== this.#bound)
  }

  /** Throws `other_user`. */
  check(): void {
    if (this.locked) throw otherUser()
  }

  /** The caller has the turn. Answers whether it has become locked or unlocked. */
  token(subject: string): boolean {
    const before = this.locked
    if (this.#bound === null) this.#bind(subject)
    this.#seen = subject
    return this.locked !== before
  }

  #bind(user: string): void {
    this.#store.put(user)
    this.#bound = user
  }
}

export const otherUser = (): ProblemError =>
  new ProblemError(
    'other_user',
    'this local database belongs to another user; nothing of it is shown or sent until it is wiped',
  )
