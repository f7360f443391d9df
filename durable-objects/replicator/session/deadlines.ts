import { RockpoolError } from '../../../protocol/errors.ts'
import type { Call } from '../../../sources/source.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import type { SessionState } from './session-state.ts'

// How long a session may take. Deadlines are counted in calls, each of `CALL_SECONDS`.

/** From the beginning until the stream is open, unless others are waited for. */
const CONNECT_CALLS = 2
/**
 * How much longer than `SESSION_SECONDS` a session may take that is over and does not end, because an answer never
 * comes.
 */
const OVERTIME_CALLS = 2
/** The same for the alarm of the object: it ends without a session that does not even fail. */
const ALARM_CALLS = 3

export type SessionTimes = Pick<ReplicationSettings, 'sessionSeconds' | 'callSeconds'>

const connectMs = ({ callSeconds }: SessionTimes): number => CONNECT_CALLS * callSeconds * 1_000
const overtimeMs = ({ sessionSeconds, callSeconds }: SessionTimes): number =>
  (sessionSeconds + OVERTIME_CALLS * callSeconds) * 1_000
export const alarmMs = ({ sessionSeconds, callSeconds }: SessionTimes): number =>
  (sessionSeconds + ALARM_CALLS * callSeconds) * 1_000

/**
 * The deadlines of one session and of its calls. A session that misses its own fails with ROCKPOOL_SOURCE_UNREACHABLE,
 * so that it does not hold the alarm.
 */
export class Deadlines {
  readonly #times: SessionTimes
  readonly #state: SessionState
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(times: SessionTimes, state: SessionState) {
    this.#times = times
    this.#state = state
  }

  /** The session connects, until `work`. */
  connect(): void {
    this.#set(connectMs(this.#times))
  }

  /** While it connects it waits for somebody else, which may take as long as a session does. */
  waitForOthers(): void {
    this.#set(this.#times.sessionSeconds * 1_000)
  }

  /** The stream is open, and tasks are run until the end of the session. */
  work(): void {
    this.#set(overtimeMs(this.#times) - (Date.now() - this.#state.began))
  }

  clear(): void {
    clearTimeout(this.#timer)
  }

  /** For one question to the source. */
  readonly call = (): Call => this.#call(this.#times.callSeconds * 1_000)
  /** For questions while the session connects. */
  readonly connectCall = (): Call => this.#call(connectMs(this.#times))
  /** For calls that may take as long as the session does: to read a large table by hashes, or to wait for others. */
  readonly longCall = (): Call => this.#call(overtimeMs(this.#times))

  #call(deadlineMs: number): Call {
    return { signal: this.#state.signal, deadlineMs }
  }

  #set(milliseconds: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      const { waitingFor } = this.#state
      const reason = `Postgres did not answer in time${waitingFor === null ? '' : `; it waits for ${waitingFor}`}`
      this.#state.fail(new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', reason))
    }, milliseconds)
  }
}
