import type { SourceStream } from '../../../sources/source.ts'
import type { BatchWindow } from './batch-window.ts'
import type { Intake } from './intake.ts'

/** Changes that come at once and let us think that more are on their way. */
const MANY_CHANGES = 100
/**
 * Turns without a change after which there are no more. Where each change would be an append of its own, a few are
 * worth waiting for.
 */
const THIN_TURNS = 5

export interface FlowPorts {
  intake: Intake
  window: BatchWindow
  /** Whether a batch may be stored now. */
  hasRoom(): boolean
  stream(): SourceStream | null
  failed(error: unknown): void
}

/**
 * When what was taken in is stored, and when the stream is paused. Transactions that come together are stored together:
 * at once when they are few, or behind the window; when they are many, there is more behind them, which is waited for.
 * While buckets owe answers all of them gather, and then the stream waits.
 */
export class Flow {
  readonly #ports: FlowPorts
  readonly #waiting: (() => void)[] = []
  #flushing = false
  #ended = false
  /** Changes in memory that were not stored, at most. */
  peakHeld = 0

  constructor(ports: FlowPorts) {
    this.#ports = ports
  }

  /** Something was taken in. */
  more(): void {
    const { intake, hasRoom, stream } = this.#ports
    this.peakHeld = Math.max(this.peakHeld, intake.held)
    if (hasRoom()) this.#flush()
    else if (intake.load >= 0.5 || intake.busy) stream()?.pause()
  }

  /** A bucket has answered, or a batch was committed. */
  answered(): void {
    const { intake, hasRoom, stream, failed } = this.#ports
    if (!hasRoom() || this.#ended) return
    try {
      intake.resume()
    } catch (error) {
      failed(error)
      return
    }
    if (!hasRoom() || intake.busy) return
    this.#flush()
    stream()?.resume()
    for (const go of this.#waiting.splice(0)) go()
  }

  /** Resolves when there is room. */
  room(): Promise<void> {
    return this.#ports.hasRoom() ? Promise.resolve() : new Promise((resolve) => this.#waiting.push(resolve))
  }

  /** Nothing is stored from now on. */
  end(): void {
    this.#ended = true
  }

  #flush(): void {
    if (this.#flushing) return
    this.#flushing = true
    this.#gathered().catch(this.#ports.failed)
  }

  async #gathered(): Promise<void> {
    const { intake, window, hasRoom } = this.#ports
    await null
    const wait = window.wait(intake.transactions, Date.now())
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait))
    for (let quiet = 0; intake.held >= MANY_CHANGES && quiet < (intake.isThin ? THIN_TURNS : 1) && hasRoom();) {
      const { changes } = intake
      // One turn: the next read comes first.
      await new Promise((resolve) => setTimeout(resolve, 0))
      quiet = intake.changes > changes ? 0 : quiet + 1
    }
    this.#flushing = false
    if (hasRoom() && !this.#ended) intake.flush()
  }
}
