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
/** One that is moved or starts again fails a few times; after so many it is told. */
const TOLD_ATTEMPTS = 4

/** UTF-16 units of ops in one append. A call between objects takes 32 MiB (2026-11-29), and a unit is two bytes in it as soon as one is not Latin-1. */
const MESSAGE_LENGTH = 8 * 1024 * 1024

/** `APPENDS_IN_FLIGHT` when nothing else is said. */
const PARALLEL = 32
/** A call that hangs holds its slot for all of `CALL_SECONDS`. Of so many slots one is for buckets that did not answer in time, beside the others. */
const PROMPT_PER_LATE = 4

export interface Sending {
  /** What its bucket may compact up to. */
  committed: () => OpId
  /** False: nobody waits for it any more. */
  wanted: () => boolean
  /** After each failure, and when a further call has its turn: for how long there was no answer. */
  unanswered: (milliseconds: number) => void
}

export interface DispatcherPorts {
  /** One call, with a stub of its own. */
  send(bucket: string, request: AppendRequest): Promise<BucketState>
  /** Of one call. */
  deadlineMs: number
  /** The bucket goes on failing. */
  failed(bucket: FailingBucket): void
}

export interface FailingBucket {
  bucket: string
  attempts: number
  error: string
}

/**
 * Appends to the buckets: repeated on any error and after the deadline, always with a new stub, until answered. Appending is idempotent. A bucket that did not
 * answer in time takes no turns from the others: until it answers its calls are some of few.
 */
export class Dispatcher {
  readonly #ports: DispatcherPorts
  readonly #failing = new Map<string, FailingBucket>()
  readonly #prompt = new Slots(PARALLEL)
  readonly #late = new Slots(PARALLEL / PROMPT_PER_LATE)
  /** Bucket objects that are awake because of appends. */
  readonly active = new ActiveObjects()
  /** Appends sent, repeated ones included. */
  calls = 0

  constructor(ports: DispatcherPorts) {
    this.#ports = ports
  }

  /** Appends that wait for an answer at a time, without those to late buckets; each holds the text of its ops. */
  get parallel(): number {
    return this.#prompt.limit
  }

  set parallel(limit: number) {
    this.#prompt.limit = limit
    this.#limitLate()
  }

  /** Bucket objects that may be awake at a time because of appends; 0 = no limit. */
  get awake(): number {
    return this.active.limit
  }

  set awake(limit: number) {
    this.active.limit = limit
    this.#limitLate()
  }

  /** One that does not answer is awake for as long as it is called, so late ones must not be all that may be awake. */
  #limitLate(): void {
    const most = this.awake === 0 ? Infinity : Math.max(1, Math.floor(this.awake / 2))
    this.#late.limit = Math.min(Math.ceil(this.parallel / PROMPT_PER_LATE), most)
  }

  limit({ appendsInFlight, activeBuckets }: { appendsInFlight: number; activeBuckets: number }): void {
    this.parallel = appendsInFlight
    this.awake = activeBuckets
  }

  /** Buckets that do not answer, and appends sent. */
  status(): { failing: FailingBucket[]; calls: number } {
    return { failing: this.failing, calls: this.calls }
  }

  get failing(): FailingBucket[] {
    return [...this.#failing.values()]
  }

  /** Null when it is not wanted any more. */
  async append(bucket: string, append: StoredAppend, { committed, wanted, unanswered }: Sending): Promise<BucketState | null> {
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
            if (attempts >= TOLD_ATTEMPTS) tell(failing)
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

  /** What it answers ends the turn. */
  async #turn(bucket: string, late: boolean): Promise<() => void> {
    const slots = late ? this.#late : this.#prompt
    // Who waits among the late ones for long is not awake meanwhile.
    if (late) await slots.take()
    await this.active.enter(bucket)
    if (!late) await slots.take()
    return () => {
      this.active.leave(bucket)
      slots.leave()
    }
  }
}

/** As many appends as it takes; nearly always it is one. Ops that have come when it fails in between are ignored when they come again. */
function* inMessages(append: StoredAppend): Iterable<Omit<StoredAppend, 'bucket' | 'length'>> {
  if (append.length <= MESSAGE_LENGTH) yield append
  else for (const part of cut(splitOps(append.body()), MESSAGE_LENGTH)) yield { ...part, body: () => part.body }
}
