import type { Transport } from './transport.ts'

/**
 * The calls to the process of the clients, with their answers. Times are milliseconds of `clock.ts`, which the harness
 * shares.
 */
export interface Calls {
  /** Opens clients, `together` at a time: the next one when one is complete. Returns when all are. */
  open: { ask: OpenAsk; answer: Opened }
  /** Drops all sockets, then opens all at once from where each client is. */
  resume: { ask: { group: string }; answer: Opened }
  /** Returns when each client was complete with this many ops since it was created. */
  reach: { ask: { group: string; ops: number }; answer: { completed: number[] } }
  totals: { ask: { group: string }; answer: Totals }
  close: { ask: { group: string }; answer: Record<string, never> }
  /**
   * Returns the milliseconds from each COMMIT to `checkpoint_complete`, one row at a time, each after the one before
   * has arrived.
   */
  latencies: {
    ask: { group: string; databaseUrl: string; statement: string; times: number }
    answer: { values: number[] }
  }
  /** Returns the milliseconds from each request of a write checkpoint to the line that has it. */
  writeCheckpoints: { ask: { group: string; times: number }; answer: { values: number[] } }
}

export interface OpenAsk {
  group: string
  url: string
  transport: Transport
  clients: { token: string; clientId?: string }[]
  together: number
  verify?: boolean
}

export interface Opened {
  started: number
  /** When the first line with a checkpoint arrived at any client. */
  announced: number
  /** When each client was complete. */
  completed: number[]
  totals: Totals
}

/** Sums over all clients of a group. `announced` counts the ops of their buckets as last announced. */
export interface Totals {
  ops: number
  /** The bytes of lines with ops, decoded. */
  bytes: number
  /** All bytes that arrived, as they were sent: compressed where the body is. */
  received: number
  announced: number
  buckets: number
  completes: number
}

export type CallName = keyof Calls
export type Question = { [N in CallName]: { id: number; call: N; ask: Calls[N]['ask'] } }[CallName]
export type Reply = { id: number; answer: unknown } | { id: number; error: string }
