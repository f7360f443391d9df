import { MAX_MAILBOX_CLIENTS } from '../../../protocol/names.ts'

/** A write checkpoint that was issued. */
export interface Mark {
  user: string
  clientId: string
  n: bigint
}

/**
 * Remembers the last number of each client, for a user as many as the mailbox holds, and a limited number of all. The
 * oldest are forgotten first.
 */
export class LastNumbers {
  /** Users and their clients in the order of their last numbers. */
  readonly #users = new Map<string, Map<string, Mark>>()
  readonly #most: number
  #size = 0

  constructor(most = Infinity) {
    this.#most = most
  }

  get size(): number {
    return this.#size
  }

  get(user: string, clientId: string): bigint {
    return this.#users.get(user)?.get(clientId)?.n ?? 0n
  }

  set(mark: Mark): void {
    const clients = this.#users.get(mark.user) ?? new Map<string, Mark>()
    this.#users.delete(mark.user)
    this.#users.set(mark.user, clients)
    if (!clients.delete(mark.clientId)) this.#size++
    clients.set(mark.clientId, mark)
    if (clients.size > MAX_MAILBOX_CLIENTS) this.#forgetFirst(clients)
    const [oldest] = this.#users
    if (this.#size <= this.#most || !oldest) return
    this.#forgetFirst(oldest[1])
    if (oldest[1].size === 0) this.#users.delete(oldest[0])
  }

  *all(): Iterable<Mark> {
    for (const clients of this.#users.values()) yield* clients.values()
  }

  clear(): void {
    this.#users.clear()
    this.#size = 0
  }

  #forgetFirst(clients: Map<string, Mark>): void {
    const [first] = clients.keys()
    if (first !== undefined && clients.delete(first)) this.#size--
  }
}
