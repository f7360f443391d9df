import { MESSAGE_VERSION, type BucketState } from '../../protocol/messages.ts'
import { bucketObjectName } from '../../protocol/names.ts'
import type { OpId } from '../../protocol/ops.ts'
import type { Environment } from '../environment.ts'
import { pause } from '../faults.ts'
import { cut } from '../bucket/cut.ts'
import { splitOps } from '../bucket/ops.ts'
import { bucketStub } from '../shared/namespaces.ts'
import { callDeadline, untilAnswered } from '../shared/retry.ts'
import { ActiveObjects } from './active.ts'
import type { StoredAppend } from './outbox.ts'

const FIRST_WAIT_MS = 50
const MAX_WAIT_MS = 10_000
/** One that is moved or starts again fails a few times; after so many it is told. */
const TOLD_ATTEMPTS = 4

/** UTF-16 units of ops in one append. A call between objects takes 32 MiB (2026-11-29), and a unit is two bytes in it as soon as one is not Latin-1. */
const MESSAGE_LENGTH = 8 * 1024 * 1024
export interface Sending {
  /** What its bucket may compact up to. */
  committed: () => OpId
  /** False: nobody waits for it any more. */
  wanted: () => boolean
  /** After each failure: for how long there was no answer. */
  unanswered: (milliseconds: number) => void
}

export interface FailingBucket {
  bucket: string
  attempts: number
  error: string
}

/** Appends to the buckets: repeated on any error and after the deadline, always with a new stub, until answered. Appending is idempotent. */
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

  /** Null when it is not wanted any more. */
  async append(bucket: string, append: StoredAppend, { committed, wanted, unanswered }: Sending): Promise<BucketState | null> {
    const name = await bucketObjectName(this.#tenant, bucket)
    await this.active.enter(name)
    if (this.#running >= this.parallel) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    this.#running++
    try {
      let state: BucketState | null = { count: 0, checksum: 0, last: 0 }
      for (const ops of inMessages(append)) {
        const began = Date.now()
        state = await untilAnswered(
          async () => {
            await pause('append.send')
            this.calls++
            const { first, last, count, checksum } = ops
            const request = { v: MESSAGE_VERSION, first, last, count, checksum, body: ops.body(), committed: committed() }
            const answer = await bucketStub(this.#env, name).append(request)
            await pause('append.answer')
            return answer
          },
          {
            deadlineMs: callDeadline(this.#env),
            firstMs: FIRST_WAIT_MS,
            maxMs: MAX_WAIT_MS,
            wanted,
            failed: (error, attempts) => {
              const failing = { bucket, attempts, error: error instanceof Error ? error.message : String(error) }
              this.#failing.set(bucket, failing)
              if (attempts >= TOLD_ATTEMPTS) this.#failed(failing)
              unanswered(Date.now() - began)
            },
          },
        )
        this.#failing.delete(bucket)
        if (state === null) return null
      }
      return { count: state.count, checksum: state.checksum, last: state.last }
    } finally {
      this.active.leave(name)
      this.#running--
      this.#waiting.shift()?.()
    }
  }
}

/** As many appends as it takes; nearly always it is one. Ops that have come when it fails in between are ignored when they come again. */
function* inMessages(append: StoredAppend): Iterable<Omit<StoredAppend, 'bucket' | 'length'>> {
  const body = append.body()
  if (body.length <= MESSAGE_LENGTH) yield append
  else for (const part of cut(splitOps(body), MESSAGE_LENGTH)) yield { ...part, body: () => part.body }
}
