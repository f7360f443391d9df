/** Answers of the probe's Worker, as JSON. Times are in milliseconds. */
export interface CallsAnswer {
  /** The time until all calls had answered. */
  total: number
}

export interface WritesAnswer {
  /**
   * The times of calls that write nothing, and of calls that write one row, whose answers wait until it is confirmed.
   */
  idle: number[]
  writing: number[]
}

/** The answer of an object. */
export interface InstanceAnswer {
  /** Changes when the object was evicted from memory. */
  instance: string
  /** Shared by the objects whose code runs in one isolate. */
  isolate: string
  /** Of the code that it runs. */
  version: string
  sockets: number
}

/**
 * What an alarm is to do: `calls`: so many calls of other objects; `together`: so many at once, each of which waits
 * `wait` ms; `work`: so many pieces of `wait` million rounds; `writes`: so many writes that are waited for, and so many
 * questions to `source` with an unconfirmed write before them and without.
 */
export interface AlarmTask {
  what: 'calls' | 'together' | 'work' | 'writes'
  n: number
  wait: number
  /** HOST:PORT, to which three sockets are held meanwhile. Null: none are. */
  source: string | null
}

export interface AlarmAnswer {
  /** Calls that have answered, or pieces of work that are done. */
  done: number
  ended: boolean
  /** Why it ended before all was done. */
  error: string | null
  /** `together`: of all. `writes`: until each was confirmed. */
  times: number[]
  /** Until `source` answered, without a write before and behind one. */
  answers: number[]
  answersBehindWrites: number[]
}

export interface CryptoAnswer {
  /** The same secret from both sides; else what went wrong. */
  x25519: string | null
  /** Iterations of PBKDF2 that were accepted. */
  pbkdf2: number[]
  /** The error of the first iteration count that was refused, or null when none was. */
  refusal: string | null
}

export interface ConnectAnswer {
  ms: number
  error: string | null
}
