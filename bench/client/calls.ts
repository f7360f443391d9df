import type { Transport } from './transport.ts'

/** What the process of the clients is asked, and what it answers. Times are milliseconds of `clock.ts`, which the harness shares. */
export interface Calls {
  /** Opens clients, `together` at a time, each when one before is complete. Answers when all are. */
  open: { ask: OpenAsk; answer: Opened }
  /** Drops all sockets, then opens all at once from where each stands. */
  resume: { ask: { group: string }; answer: Opened }
  /** When each client was complete with so many ops since it was made. */
  reach: { ask: { group: string; ops: number }; answer: { completed: number[] } }
  totals: { ask: { group: string }; answer: Totals }
  close: { ask: { group: string }; answer: Record<string, never> }
  /** Milliseconds from each answer of COMMIT to `checkpoint_complete`; one row at a time, each when the one before has come. */
  latencies: { ask: { group: string; databaseUrl: string; statement: string; times: number }; answer: { values: number[] } }
  /** Milliseconds from each request of a write checkpoint to the line that has it. */
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
  /** The first line with a checkpoint, of any client. */
  announced: number
  /** When each client was complete. */
  completed: number[]
  totals: Totals
}

/** Over all clients of a group. `announced`: ops that their buckets hold, as announced last. */
export interface Totals {
  ops: number
  /** Of lines of ops. */
  bytes: number
  /** Of everything, as it was sent. */
  received: number
  announced: number
  buckets: number
  completes: number
}

export type CallName = keyof Calls
export type Question = { [N in CallName]: { id: number; call: N; ask: Calls[N]['ask'] } }[CallName]
export type Reply = { id: number; answer: unknown } | { id: number; error: string }
