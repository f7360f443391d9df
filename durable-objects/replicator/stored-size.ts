import type { Threshold } from '../../tenants/budget.ts'
import { inTurn } from './in-turn.ts'
import type { StateStore } from './store/storage.ts'
import type { StoredSize as Stored } from './store/stored.ts'

const GB = 1024 ** 3
/** Buckets that are asked before one session. With more of them a measure goes on before the next one. */
export const BUCKETS_A_MEASURE = 2_000
const PAGE = 200
/** Buckets that may fail in a measure. */
export const MOST_FAILURES = 20
/** How old a measure may be. */
const OLD_MS = 24 * 3_600_000
/** Near a limit: compaction may have made room. */
const OLD_NEAR_MS = 10 * 60_000
/** The part of the lowest limit from which on it is near. */
const NEAR = 0.9

export interface StoredSizePorts {
  state: Pick<StateStore, 'get' | 'set'>
  /** Returns buckets whose numbers are above this one, in their order. */
  buckets(after: number, limit: number): { number: number; name: string }[]
  /** Returns how many bytes a bucket stores. */
  size(bucket: string): Promise<number>
  /** Bytes that the replicator itself stores. */
  own(): number
  /** The length of all ops that were sent to buckets since the object started. */
  appended(): number
  now(): number
}

/**
 * How much a tenant stores. Buckets say it when they are asked, which is once a day, or more often near a limit.
 * Between two measures what was appended is added, so it is rather too much. What was appended before the object was
 * ended, and not noted yet, is missing until the next measure. Until there is a limit nobody is asked, and nothing is
 * stored.
 */
export class StoredSize {
  readonly #ports: StoredSizePorts
  /** What of `appended` is in the stored size. */
  #counted = 0

  constructor(ports: StoredSizePorts) {
    this.#ports = ports
  }

  /** Null: it was never measured. */
  get bytes(): number | null {
    const { state, own } = this.#ports
    const stored = state.get('storedSize')
    return stored === null || stored.measured === 0 ? null : stored.bytes + this.#grown + own()
  }

  /** Of the last complete measure, in ms since 1970; null: there was none. */
  get measured(): number | null {
    return this.#ports.state.get('storedSize')?.measured || null
  }

  /** Until when this measure is good near a limit, in ms since 1970. */
  get goodUntil(): number {
    return (this.measured ?? 0) + OLD_NEAR_MS
  }

  /**
   * Asks buckets, if it is time to. Returns whether what is known now is their answers. Never rejects. Some that do not
   * answer count as nothing; when there are more of them, all are asked again before the next session.
   */
  async measure(limit: Threshold): Promise<boolean> {
    const lowest = limit.warn ?? limit.refuse
    if (lowest === null || !this.#isDue(lowest * GB)) return false
    const { state, buckets, size } = this.#ports
    this.note()
    const stored = state.get('storedSize') ?? { bytes: 0, measured: 0, partial: null }
    const { grown, ...begun } = stored.partial ?? { after: 0, sum: 0, grown: 0 }
    let { after, sum } = begun
    let [asked, failures] = [0, 0]
    const ask = async (name: string): Promise<number> => {
      try {
        return await size(name)
      } catch (error) {
        if (++failures > MOST_FAILURES) throw error
        return 0
      }
    }
    try {
      for (let page = buckets(after, PAGE); page.length > 0; page = buckets(after, PAGE)) {
        if (asked >= BUCKETS_A_MEASURE) {
          state.set('storedSize', { ...stored, partial: { after, sum, grown } })
          return false
        }
        let ofPage = 0
        await inTurn(page, async ({ name }) => {
          const bytes = await ask(name)
          ofPage += bytes
        })
        sum += ofPage
        asked += page.length
        after = page.at(-1)?.number ?? after
      }
      state.set('storedSize', { bytes: sum + grown, measured: this.#ports.now(), partial: null })
      return true
    } catch (error) {
      console.warn('how much is stored could not be measured', error)
      return false
    }
  }

  /** Stores what was appended. One row, if anything was. */
  note(): void {
    const { state, appended } = this.#ports
    const stored = state.get('storedSize')
    const grown = this.#grown
    this.#counted = appended()
    if (stored === null || grown === 0) return
    const { bytes, partial } = stored
    state.set('storedSize', {
      ...stored,
      bytes: bytes + grown,
      partial: partial && { ...partial, grown: partial.grown + grown },
    })
  }

  get #grown(): number {
    return this.#ports.appended() - this.#counted
  }

  #isDue(lowest: number): boolean {
    const { state, now } = this.#ports
    const stored: Stored | null = state.get('storedSize')
    const { bytes } = this
    if (stored === null || bytes === null || stored.partial !== null) return true
    return now() - stored.measured >= (bytes >= NEAR * lowest ? OLD_NEAR_MS : OLD_MS)
  }
}

/** Returns a limit in bytes. */
export const inBytes = ({ warn, refuse }: Threshold): Threshold => ({
  warn: warn && warn * GB,
  refuse: refuse && refuse * GB,
})
