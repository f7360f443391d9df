import { MESSAGE_VERSION, type BucketState } from '../../protocol/messages.ts'
import { bucketObjectName } from '../../protocol/names.ts'
import type { OpId } from '../../protocol/ops.ts'
import type { Environment } from '../environment.ts'
import { pause } from '../faults.ts'
import { ActiveObjects } from './active.ts'
import type { StoredAppend } from './outbox.ts'

const FIRST_WAIT_MS = 50
const MAX_WAIT_MS = 10_000
/** One that is moved or starts again fails a few times; after so many it is told. */
const TOLD_ATTEMPTS = 4
/** An overloaded object gets worse by being asked again soon. */
const OVERLOADED_FACTOR = 10

export interface FailingBucket {
  bucket: string
  attempts: number
  error: string
}

/** Appends to the buckets: repeated on any error, always with a new stub, until answered. Appending is idempotent. */
export class Dispatcher {
  readonly #env: Environment
  readonly #tenant: string
  readonly #failed: (bucket: FailingBucket) => void
  readonly #waiting: (() => void)[] = []
  readonly #failing = new Map<string, FailingBucket>()
  #running = 0
  /** Appends that wait for an answer at a time; each holds the text of its ops. */
  parallel = 32
  /** Bucket objects that are awake because of appends. */
  readonly active = new ActiveObjects()
  /** Appends sent, repeated ones included. */
  calls = 0

  /** `failed` is called for a bucket that goes on failing. */
  constructor(env: Environment, tenant: string, failed: (bucket: FailingBucket) => void) {
    this.#env = env
    this.#tenant = tenant
    this.#failed = failed
  }

  get failing(): FailingBucket[] {
    return [...this.#failing.values()]
  }

  async append(bucket: string, append: StoredAppend, committed: () => OpId): Promise<BucketState> {
    const name = await bucketObjectName(this.#tenant, bucket)
    await this.active.enter(name)
    if (this.#running >= this.parallel) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    this.#running++
    try {
      for (let attempts = 1; ; attempts++) {
        try {
          await pause('append.send')
          this.calls++
          const { first, last, count, checksum } = append
          const request = { v: MESSAGE_VERSION, first, last, count, checksum, body: append.body(), committed: committed() }
          const state = await this.#env.BUCKET.getByName(name).append(request)
          await pause('append.answer')
          this.#failing.delete(bucket)
          return { count: state.count, checksum: state.checksum, last: state.last }
        } catch (error) {
          const failing = { bucket, attempts, error: error instanceof Error ? error.message : String(error) }
          this.#failing.set(bucket, failing)
          if (attempts >= TOLD_ATTEMPTS) this.#failed(failing)
          await sleep(waitMs(attempts, error))
        }
      }
    } finally {
      this.active.leave(name)
      this.#running--
      this.#waiting.shift()?.()
    }
  }
}

function waitMs(attempts: number, error: unknown): number {
  const overloaded = error instanceof Error && 'overloaded' in error && error.overloaded === true
  const wait = Math.min(FIRST_WAIT_MS * 2 ** Math.min(attempts - 1, 20), MAX_WAIT_MS) * (overloaded ? OVERLOADED_FACTOR : 1)
  return wait * (0.5 + Math.random())
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
