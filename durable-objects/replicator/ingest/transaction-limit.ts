import type { StateStore } from '../store/storage.ts'

/**
 * What a change costs that passes without being an event, as a part of one that is taken in. Measured on 2026-11-30 in
 * workerd: 3.3 µs for TLS of our own (`bench/source-tls.ts`) and 0.2 µs to decode and drop it, against 31 µs for a row
 * of the scenario *streamed*, which is 1/9.
 */
export const PASSED_COST = 1 / 8

/** Changes in a row that pass before that is stored: fewer end no session. */
export const PASSED_NOTED = 1_000

/** Sessions that may end, one after the other, while only what is stored of a transaction has come. */
export const PASSING_STARTS = 3

/**
 * Why a transaction is not read to its end: it has more rows than it may have, or sessions end before they come to what
 * is new of it.
 */
export type Leaving = 'rows' | 'starts'

export interface TransactionLimitPorts {
  state: Pick<StateStore, 'get' | 'set'>
  /** Rows of one transaction, at most. */
  most: number
  /** The session has done what it may do. */
  spent(): boolean
  /** Resolves when everything written so far is durable. */
  durable(): Promise<void>
  /** It is durable. */
  answered(): void
  failed(error: unknown): void
}

/**
 * Makes a transaction of any size end. A source sends a transaction from its beginning, so a session that goes on with
 * a large one sees what is stored once more, and is killed at the same place for ever when that alone takes longer than
 * a session may. So sessions that see nothing else are counted, and so are the rows of a transaction.
 */
export class TransactionLimit {
  readonly #ports: TransactionLimitPorts
  /** Of the open transaction: those that came, stored or not. */
  #rows = 0
  /** Changes that passed since something new came. */
  #passed = 0
  /** This session is counted. */
  #noted = false
  /**
   * It is not durable yet that something new comes. Whatever that does to the session, it is not the fault of what
   * passed.
   */
  waits = false

  constructor(ports: TransactionLimitPorts) {
    this.#ports = ports
  }

  begin(): void {
    this.#rows = 0
    this.#passed = 0
  }

  /**
   * A change passed. `whole`: all of its transaction is stored. `flush` stores what is gathered of earlier
   * transactions. Returns why no more of it is read, or null.
   */
  passed(whole: boolean, flush: () => void): Leaving | null {
    this.#passed++
    if (!whole && ++this.#rows > this.#ports.most) return 'rows'
    if (this.#noted || (this.#passed < PASSED_NOTED && !this.#ports.spent())) return null
    flush()
    return this.#note()
  }

  /** Something new of the open transaction has come. As `passed`. */
  taken(): Leaving | null {
    if (++this.#rows > this.#ports.most) return 'rows'
    this.#passed = 0
    if (this.#noted) this.#forget()
    return null
  }

  #note(): Leaving | null {
    const { state } = this.#ports
    const { position, partial } = state.get('decode')
    const at = JSON.stringify([position, partial])
    const before = state.get('passing')
    const starts = before?.at === at ? before.starts : 0
    if (starts >= PASSING_STARTS) return 'starts'
    this.#noted = true
    state.set('passing', { at, starts: starts + 1 })
    return null
  }

  #forget(): void {
    const { state, durable, answered, failed } = this.#ports
    this.#noted = false
    state.set('passing', null)
    this.waits = true
    durable().then(() => {
      this.waits = false
      answered()
    }, failed)
  }
}
