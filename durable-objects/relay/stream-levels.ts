import { levelOf, type Level, type Threshold } from '../../tenants/budget.ts'

/** A level that lasts is told again after this time. */
export const TOLD_MS = 3_600_000

/** Compares the number of streams with what the tenant may have, and tells it when that is much. */
export class StreamLevels {
  readonly #tell: (level: 'warn' | 'refuse', streams: number) => void
  readonly #now: () => number
  /** When each was told last, in ms since 1970. */
  readonly #told = { warn: -Infinity, refuse: -Infinity }

  constructor(tell: (level: 'warn' | 'refuse', streams: number) => void, now: () => number = Date.now) {
    this.#tell = tell
    this.#now = now
  }

  /** Called before each new stream, with how many there are. */
  level(streams: number, threshold: Threshold): Level {
    const level = levelOf(streams, threshold)
    if (level !== 'within' && this.#now() - this.#told[level] >= TOLD_MS) {
      this.#told[level] = this.#now()
      this.#tell(level, streams)
    }
    return level
  }
}
