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
/** Calls at a time. Each wakes an object. */
const AT_ONCE = 100

export interface WatcherPorts {
  db: Database
  nextSerial(): number
  serving(): Serving
  /** It lacks ops: it is told of no checkpoint. */
  fenced(bucket: string): boolean
  publish(bucket: string, request: Versioned & Serving): Promise<PublishAnswer>
  /** Before try `attempt`, from 1. */
  pause(attempt: number): Promise<void>
}

/**
 * Buckets that somebody follows directly: told of each commit that touches them. Stored, and with each commit up to where all have been told, so that a crash
 * between a commit and its publication leaves nobody waiting: whoever starts goes on from there.
 */
export class Watchers {
  readonly #ports: WatcherPorts
  readonly #serials = new Map<string, number>()
  /** Buckets whose turn comes. */
  readonly #waiting = new Set<string>()
  /** Buckets that are being told; true: to be told once more. */
  readonly #telling = new Map<string, boolean>()
  /** Calls that failed, one after the other, and the buckets that wait for the next one: others have their turn meanwhile. */
  readonly #failures = new Map<string, number>()
  readonly #pausing = new Set<string>()
  /** What those that are not told yet are told of, and up to where all have been. */
  #due: Serving | null = null
  #told: Serving | null = null
  /** See `untold`. */
  #untold = false

  constructor(ports: WatcherPorts) {
    this.#ports = ports
    for (const row of ports.db.all('SELECT bucket, serial FROM watchers')) this.#serials.set(String(row.bucket), Number(row.serial))
  }

  get size(): number {
    return this.#serials.size
  }

  /** All have been told up to here; null: it is not known. */
  get told(): Serving | null {
    return this.#told
  }

  /** One row written. */
  watch(bucket: string): Serving {
    const serial = this.#ports.nextSerial()
    this.#ports.db.run('INSERT INTO watchers VALUES (?, ?) ON CONFLICT (bucket) DO UPDATE SET serial = excluded.serial', bucket, serial)
    this.#serials.set(bucket, serial)
    return this.#ports.serving()
  }

  /** At the start: those are told that what is stored does not say to have been told. */
  resume({ published, named }: Pick<State['commit'], 'published' | 'named'>): void {
    const serving = this.#ports.serving()
    const samePlan = published?.plan === serving.plan
    if (published && samePlan && published.checkpoint >= serving.checkpoint) return this.#reached(serving)
    if (!published || !samePlan || named === null || named.previous > published.checkpoint) return this.committed(null, serving)
    const names = namesIn(named.parts)
    this.committed(
      [...this.#serials.keys()].filter((bucket) => names.has(frameName(bucket))),
      serving,
    )
  }

  /** Once it is durable: these buckets have changed, or, null, any may have. `serving`: with this commit. */
  committed(buckets: Iterable<string> | null, serving: Serving): void {
    for (const bucket of buckets ?? this.#serials.keys()) if (this.#serials.has(bucket)) this.#tell(bucket)
    this.#reached(serving)
  }

  /** Now and then, to forget those that nobody follows any more. */
  publishAll(): void {
    this.#untold = false
    for (const bucket of this.#serials.keys()) this.#tell(bucket)
  }

  /** Some have not been told of what the others were told of, and are with `publishAll`. */
  untold(): void {
    this.#untold = true
    this.#due = null
    this.#told = null
  }

  /** The last stream of the bucket has gone, unless another one has come. */
  left(bucket: string): void {
    if (this.#serials.has(bucket)) this.#tell(bucket)
  }

  /** Always the newest: what is committed until then is told with it. */
  #tell(bucket: string): void {
    if (this.#pausing.has(bucket) || this.#ports.fenced(bucket)) return
    if (this.#telling.has(bucket)) this.#telling.set(bucket, true)
    else this.#waiting.add(bucket)
    this.#fill()
  }

  #fill(): void {
    for (const bucket of this.#waiting) {
      if (this.#telling.size >= AT_ONCE) return
      this.#waiting.delete(bucket)
      void this.#publish(bucket)
    }
    if (!this.#untold && this.#telling.size === 0 && this.#pausing.size === 0) this.#told = this.#due
  }

  #reached(serving: Serving): void {
    this.#due = serving
    this.#fill()
  }

  async #publish(bucket: string): Promise<void> {
    const serial = this.#serials.get(bucket)
    if (serial === undefined || this.#ports.fenced(bucket)) return
    this.#telling.set(bucket, false)
    try {
      const { none } = await this.#ports.publish(bucket, { v: MESSAGE_VERSION, ...this.#ports.serving() })
      // Who came since then has registered anew.
      if (none && this.#serials.get(bucket) === serial) this.#forget(bucket)
      this.#failures.delete(bucket)
      if (this.#telling.get(bucket) === true) this.#waiting.add(bucket)
    } catch {
      void this.#again(bucket)
    }
    this.#telling.delete(bucket)
    this.#fill()
  }

  async #again(bucket: string): Promise<void> {
    const failures = (this.#failures.get(bucket) ?? 0) + 1
    this.#failures.set(bucket, failures)
    this.#pausing.add(bucket)
    await this.#ports.pause(failures)
    this.#pausing.delete(bucket)
    this.#tell(bucket)
  }

  #forget(bucket: string): void {
    this.#ports.db.run('DELETE FROM watchers WHERE bucket = ?', bucket)
    this.#serials.delete(bucket)
    this.#failures.delete(bucket)
  }
}

/** With jitter. */
export const pauseBefore = (attempt: number): Promise<void> => sleep(waitMs(RETRY, attempt))
