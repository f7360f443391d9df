import { MESSAGE_VERSION, type Versioned } from '../../../protocol/versions.ts'
import type { PublishAnswer } from '../../../protocol/messages/bucket.ts'
import type { Serving } from '../../../protocol/messages/replicator.ts'
import { frameName } from '../../../protocol/names.ts'
import type { Database } from '../../shared/database.ts'
import { sleep } from '../../../protocol/sleep.ts'
import { waitMs } from '../../shared/retry.ts'
import { namesIn } from './notice.ts'
import type { State } from '../store/storage.ts'

const RETRY = { firstMs: 50, maxMs: 10_000 }
/** The most concurrent calls. Each wakes an object. */
const AT_ONCE = 100

export interface WatcherPorts {
  db: Database
  nextSerial(): number
  serving(): Serving
  /** Returns true for a fenced bucket, to which no checkpoint is published. */
  fenced(bucket: string): boolean
  publish(bucket: string, request: Versioned & Serving): Promise<PublishAnswer>
  /** Waits before attempt `attempt`, counted from 1. */
  pause(attempt: number): Promise<void>
}

/**
 * Publishes commits to the buckets that clients follow directly. The list is stored, and with each commit how far all
 * have been notified, so that a restart after a crash between a commit and its publication continues from there.
 */
export class Watchers {
  readonly #ports: WatcherPorts
  readonly #serials = new Map<string, number>()
  /** Buckets that wait for their turn. */
  readonly #waiting = new Set<string>()
  /** Buckets that are being notified; true when they must be notified again. */
  readonly #notifying = new Map<string, boolean>()
  /**
   * The number of consecutive failures of each bucket that waits for its next attempt. Others have their turn
   * meanwhile.
   */
  readonly #failures = new Map<string, number>()
  readonly #pausing = new Set<string>()
  /** What the remaining buckets are being notified of, and up to where all have been notified. */
  #due: Serving | null = null
  #notifiedTo: Serving | null = null
  /** Set by `missed`. */
  #hasMissed = false

  constructor(ports: WatcherPorts) {
    this.#ports = ports
    for (const row of ports.db.all('SELECT bucket, serial FROM watchers'))
      this.#serials.set(String(row.bucket), Number(row.serial))
  }

  get size(): number {
    return this.#serials.size
  }

  /** The checkpoint up to which all have been notified, or null when it is not known. */
  get notifiedTo(): Serving | null {
    return this.#notifiedTo
  }

  /** Registers a bucket, and returns what is served. Writes one row. */
  watch(bucket: string): Serving {
    const serial = this.#ports.nextSerial()
    this.#ports.db.run(
      'INSERT INTO watchers VALUES (?, ?) ON CONFLICT (bucket) DO UPDATE SET serial = excluded.serial',
      bucket,
      serial,
    )
    this.#serials.set(bucket, serial)
    return this.#ports.serving()
  }

  /** Notifies, after a start, the buckets that storage does not record as notified. */
  resume({ published, named }: Pick<State['commit'], 'published' | 'named'>): void {
    const serving = this.#ports.serving()
    const samePlan = published?.plan === serving.plan
    if (published && samePlan && published.checkpoint >= serving.checkpoint) return this.#reached(serving)
    if (!published || !samePlan || named === null || named.previous > published.checkpoint)
      return this.committed(null, serving)
    const names = namesIn(named.parts)
    this.committed(
      [...this.#serials.keys()].filter((bucket) => names.has(frameName(bucket))),
      serving,
    )
  }

  /**
   * Called for a durable commit that changed these buckets, or any when null. `serving` is what is served with this
   * commit.
   */
  committed(buckets: Iterable<string> | null, serving: Serving): void {
    for (const bucket of buckets ?? this.#serials.keys()) if (this.#serials.has(bucket)) this.#notify(bucket)
    this.#reached(serving)
  }

  /** Notifies all, which forgets those that nobody follows any more. */
  publishAll(): void {
    this.#hasMissed = false
    for (const bucket of this.#serials.keys()) this.#notify(bucket)
  }

  /** Some buckets have missed a publication, so the next commit goes to all of them. */
  missed(): void {
    this.#hasMissed = true
    this.#due = null
    this.#notifiedTo = null
  }

  /** Forgets a bucket whose last stream has gone, unless another one has been opened. */
  left(bucket: string): void {
    if (this.#serials.has(bucket)) this.#notify(bucket)
  }

  /** Notifies a bucket of the newest checkpoint, which covers all commits until then. */
  #notify(bucket: string): void {
    if (this.#pausing.has(bucket) || this.#ports.fenced(bucket)) return
    if (this.#notifying.has(bucket)) this.#notifying.set(bucket, true)
    else this.#waiting.add(bucket)
    this.#fill()
  }

  #fill(): void {
    for (const bucket of this.#waiting) {
      if (this.#notifying.size >= AT_ONCE) return
      this.#waiting.delete(bucket)
      void this.#publish(bucket)
    }
    if (!this.#hasMissed && this.#notifying.size === 0 && this.#pausing.size === 0) this.#notifiedTo = this.#due
  }

  #reached(serving: Serving): void {
    this.#due = serving
    this.#fill()
  }

  async #publish(bucket: string): Promise<void> {
    const serial = this.#serials.get(bucket)
    if (serial === undefined || this.#ports.fenced(bucket)) return
    this.#notifying.set(bucket, false)
    try {
      const { none } = await this.#ports.publish(bucket, { v: MESSAGE_VERSION, ...this.#ports.serving() })
      // A stream that was opened since then has registered again.
      if (none && this.#serials.get(bucket) === serial) this.#forget(bucket)
      this.#failures.delete(bucket)
      if (this.#notifying.get(bucket) === true) this.#waiting.add(bucket)
    } catch {
      void this.#again(bucket)
    }
    this.#notifying.delete(bucket)
    this.#fill()
  }

  async #again(bucket: string): Promise<void> {
    const failures = (this.#failures.get(bucket) ?? 0) + 1
    this.#failures.set(bucket, failures)
    this.#pausing.add(bucket)
    await this.#ports.pause(failures)
    this.#pausing.delete(bucket)
    this.#notify(bucket)
  }

  #forget(bucket: string): void {
    this.#ports.db.run('DELETE FROM watchers WHERE bucket = ?', bucket)
    this.#serials.delete(bucket)
    this.#failures.delete(bucket)
  }
}

/** Waits before attempt `attempt`, with jitter. */
export const pauseBefore = (attempt: number): Promise<void> => sleep(waitMs(RETRY, attempt))
