import { MESSAGE_VERSION, type PublishAnswer, type Serving, type Versioned } from '../../protocol/messages.ts'
import type { Database } from '../database.ts'
import { sleep, waitMs } from '../shared/retry.ts'

const RETRY = { firstMs: 50, maxMs: 10_000 }

export interface WatcherSources {
  db: Database
  nextSerial(): number
  serving(): Serving
  publish(bucket: string, request: Versioned & Serving): Promise<PublishAnswer>
  /** Before try `attempt`, from 1. */
  pause(attempt: number): Promise<void>
}

/**
 * Buckets that somebody follows directly: told of each commit that touches them. Stored, so that a crash between a commit and its publication leaves
 * nobody waiting: whoever starts publishes to all of them.
 */
export class Watchers {
  readonly #sources: WatcherSources
  readonly #serials = new Map<string, number>()
  /** Buckets that are being told; true: to be told once more. */
  readonly #telling = new Map<string, boolean>()

  constructor(sources: WatcherSources) {
    this.#sources = sources
    for (const row of sources.db.all('SELECT bucket, serial FROM watchers')) this.#serials.set(String(row.bucket), Number(row.serial))
  }

  get size(): number {
    return this.#serials.size
  }

  /** One row written. */
  watch(bucket: string): Serving {
    const serial = this.#sources.nextSerial()
    this.#sources.db.run('INSERT INTO watchers VALUES (?, ?) ON CONFLICT (bucket) DO UPDATE SET serial = excluded.serial', bucket, serial)
    this.#serials.set(bucket, serial)
    return this.#sources.serving()
  }

  /** Once it is durable: these buckets have changed. */
  committed(buckets: Iterable<string>): void {
    for (const bucket of buckets) if (this.#serials.has(bucket)) this.#tell(bucket)
  }

  /** At the start, when the plan has changed, and now and then, to forget those that nobody follows any more. */
  publishAll(): void {
    for (const bucket of this.#serials.keys()) this.#tell(bucket)
  }

  #tell(bucket: string): void {
    if (this.#telling.has(bucket)) this.#telling.set(bucket, true)
    else void this.#untilTold(bucket)
  }

  /** Always the newest: what was committed meanwhile is told with it. */
  async #untilTold(bucket: string): Promise<void> {
    for (let attempt = 1; ;) {
      this.#telling.set(bucket, false)
      const serial = this.#serials.get(bucket)
      if (serial === undefined) break
      try {
        const { none } = await this.#sources.publish(bucket, { v: MESSAGE_VERSION, ...this.#sources.serving() })
        // Who came since then has registered anew.
        if (none && this.#serials.get(bucket) === serial) this.#forget(bucket)
        if (this.#telling.get(bucket) !== true) break
        attempt = 1
      } catch {
        await this.#sources.pause(attempt++)
      }
    }
    this.#telling.delete(bucket)
  }

  #forget(bucket: string): void {
    this.#sources.db.run('DELETE FROM watchers WHERE bucket = ?', bucket)
    this.#serials.delete(bucket)
  }
}

/** With jitter. */
export const pauseBefore = (attempt: number): Promise<void> => sleep(waitMs(RETRY, attempt))
