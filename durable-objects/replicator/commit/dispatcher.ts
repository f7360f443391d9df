import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import type { AppendRequest, BucketState } from '../../../protocol/messages/bucket.ts'
import type { OpId } from '../../../protocol/ops.ts'
import { asyncFaultPoint } from '../../shared/fault-points.ts'
import { cut } from '../../shared/cut.ts'
import { splitOps } from '../../../protocol/op-text.ts'
import { Unanswered, untilAnswered } from '../../shared/retry.ts'
import { ActiveObjects } from './active.ts'
import type { StoredAppend } from '../store/outbox.ts'
import { Slots } from './slots.ts'

const FIRST_WAIT_MS = 50
const MAX_WAIT_MS = 10_000
/** Attempts after which a failure is reported. An object that is moved or restarted fails a few times. */
const ATTEMPTS_BEFORE_REPORT = 4

/**
 * The most UTF-16 units of ops in one append. A call between objects takes 32 MiB (2026-11-29), and a string takes two
 * bytes a unit as soon as one is not Latin-1.
 */
const MESSAGE_LENGTH = 8 * 1024 * 1024

/** The default of `APPENDS_IN_FLIGHT`. */
const PARALLEL = 32
/**
 * The number of slots to which one is added for late buckets, those that did not answer in time, because a call that
 * hangs holds its slot for all of `CALL_SECONDS`.
 */
const PROMPT_PER_LATE = 4

export interface Sending {
  /** Returns the op id up to which the bucket may compact. */
  committed: () => OpId
  /** Returns false when nobody waits for the append any more. */
  wanted: () => boolean
  /** Called after each failure, and before each further call, with the time without an answer. */
  unanswered: (milliseconds: number) => void
}

export interface DispatcherPorts {
  /** Makes one call, with a stub of its own. */
  send(bucket: string, request: AppendRequest): Promise<BucketState>
  /** The deadline of one call. */
  deadlineMs: number
  /** Called when the bucket keeps failing. */
  failed(bucket: FailingBucket): void
}

export interface FailingBucket {
  bucket: string
  attempts: number
  error: string
}

/**
 * Appends to the buckets. An append is repeated on any error and after the deadline, always with a new stub, until it
 * is answered. Appending is idempotent. A bucket that did not answer in time must not take turns from the others, so
 * until it answers its calls use a few slots of their own.
 */
export class Dispatcher {
  readonly #ports: DispatcherPorts
  readonly #failing = new Map<string, FailingBucket>()
  readonly #prompt = new Slots(PARALLEL)
  readonly #late = new Slots(PARALLEL / PROMPT_PER_LATE)
  /** Bucket objects that are awake because of appends. */
  readonly active = new ActiveObjects()
  /** The number of appends that were sent, including repeated ones. */
  calls = 0
  /** UTF-16 units of all ops that were appended. */
  length = 0

  constructor(ports: DispatcherPorts) {
    this.#ports = ports
  }

  /**
   * The most appends that wait for an answer at a time, without those to late buckets. Each holds the text of its ops.
   */
  get parallel(): number {
    return this.#prompt.limit
  }

  set parallel(limit: number) {
    this.#prompt.limit = limit
    this.#limitLate()
  }

  /** The most bucket objects that may be awake at a time because of appends; 0 means no limit. */
  get awake(): number {
    return this.active.limit
  }

  set awake(limit: number) {
    this.active.limit = limit
    this.#limitLate()
  }

  /**
   * Limits late buckets: one that does not answer stays awake while it is called, so late ones must not use up the
   * limit.
   */
  #limitLate(): void {
    const most = this.awake === 0 ? Infinity : Math.max(1, Math.floor(this.awake / 2))
    this.#late.limit = Math.min(Math.ceil(this.parallel / PROMPT_PER_LATE), most)
  }

  limit({ appendsInFlight, activeBuckets }: { appendsInFlight: number; activeBuckets: number }): void {
    this.parallel = appendsInFlight
    this.awake = activeBuckets
  }

  /** Returns the buckets that do not answer, and the number of appends that were sent. */
  status(): { failing: FailingBucket[]; calls: number } {
    return { failing: this.failing, calls: this.calls }
  }

  get failing(): FailingBucket[] {
    return [...this.#failing.values()]
  }

  /** Returns the state of the bucket after the append, or null when the append is no longer wanted. */
  async append(
    bucket: string,
    append: StoredAppend,
    { committed, wanted, unanswered }: Sending,
  ): Promise<BucketState | null> {
    const { send, deadlineMs, failed: tell } = this.#ports
    let state: BucketState | null = { count: 0, checksum: 0, last: 0 }
    let late = false
    for (const ops of inMessages(append)) {
      let began: number | null = null
      state = await untilAnswered(
        async () => {
          await asyncFaultPoint('append.send')
          this.calls++
          const { first, last, count, checksum } = ops
          const request = { v: MESSAGE_VERSION, first, last, count, checksum, body: ops.body(), committed: committed() }
          const answer = await send(bucket, request)
          this.length += request.body.length
          await asyncFaultPoint('append.answer')
          return answer
        },
        {
          deadlineMs,
          firstMs: FIRST_WAIT_MS,
          maxMs: MAX_WAIT_MS,
          wanted,
          turn: async () => {
            const leave = await this.#turn(bucket, late)
            if (began === null) began = Date.now()
            else unanswered(Date.now() - began)
            return leave
          },
          failed: (error, attempts) => {
            const failing = { bucket, attempts, error: error instanceof Error ? error.message : String(error) }
            this.#failing.set(bucket, failing)
            if (attempts >= ATTEMPTS_BEFORE_REPORT) tell(failing)
            late ||= error instanceof Unanswered
            if (began !== null) unanswered(Date.now() - began)
          },
        },
      )
      this.#failing.delete(bucket)
      if (state === null) return null
      late = false
    }
    return { count: state.count, checksum: state.checksum, last: state.last }
  }

  /** Waits for a turn. Returns the function that ends it. */
  async #turn(bucket: string, late: boolean): Promise<() => void> {
    const slots = late ? this.#late : this.#prompt
    // A late bucket may wait long for its slot, and is not awake meanwhile.
    if (late) await slots.take()
    await this.active.enter(bucket)
    if (!late) await slots.take()
    return () => {
      this.active.leave(bucket)
      slots.leave()
    }
  }
}

/** Splits an append into messages, nearly always one. When it fails in between, the bucket ignores the repeated ops. */
function* inMessages(append: StoredAppend): Iterable<Omit<StoredAppend, 'bucket' | 'length'>> {
  if (append.length <= MESSAGE_LENGTH) yield append
  else for (const part of cut(splitOps(append.body()), MESSAGE_LENGTH)) yield { ...part, body: () => part.body }
}
