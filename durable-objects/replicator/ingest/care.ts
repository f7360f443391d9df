import type { BatchTable } from './batch.ts'
import { TRIES, type CareLevel } from '../session/attempts.ts'
import { Listeners } from '../../shared/listeners.ts'
import type { StateStore } from '../store/storage.ts'
import type { Suspect } from '../store/stored.ts'

/** Changes of a slice when whole ones have killed the replicator again and again. */
export const CAREFUL_CHANGES = 100
/** Changes that are remembered as ones that kill, skipped ones included. */
const SUSPECTS = 100

export interface CarePorts {
  state: Pick<StateStore, 'get' | 'set'>
  /** Resolves when everything written so far is durable. */
  durable(): Promise<void>
  failed(error: unknown): void
}

/**
 * What becomes of a change: `skip` takes the row out of its buckets, `leave` does not even that, for that has killed as
 * well.
 */
export type Taking = 'take' | 'skip' | 'leave'

/**
 * Changes that kill the replicator each time they come: with care they are found, and skipped in the end. What is
 * stored counts only when it is durable, so with care each slice waits for that before the next one is looked at.
 */
export class Care {
  readonly #ports: CarePorts
  #suspects: Suspect[]
  #level: CareLevel = 0
  /** Changes until the place is passed. */
  #left = 0
  /** Noted, and not stored yet: its batch is stored with nothing else in it. */
  trying: Suspect | null = null
  /** Something is not durable yet that must be. */
  waits = false
  readonly #durable = new Listeners()

  constructor(ports: CarePorts) {
    this.#ports = ports
    this.#suspects = [...ports.state.get('suspects')]
  }

  /** A session begins. What kills is among the next `changes`. */
  begin(level: CareLevel, changes: number): void {
    this.#level = level
    this.#left = changes
    this.trying = null
    this.waits = false
  }

  /** What had to be durable is. */
  onDurable(listener: () => void): () => void {
    return this.#durable.add(listener)
  }

  /** Changes of a slice, of `most` without care. */
  slice(most: number): number {
    if (this.#level === 0) return most
    return this.#level === 1 ? Math.min(most, CAREFUL_CHANGES) : 1
  }

  /** Whether a change is noted before it is tried: then nothing else may be in its batch. */
  notes(table: BatchTable, key: string): boolean {
    return this.#level === 2 || this.#find(table.number, key) !== undefined
  }

  /** Notes a change that is about to be taken in, and yields until that is durable. */
  *about(table: BatchTable, key: string): Generator<undefined, Taking> {
    const known = this.#find(table.number, key)
    const suspect = { t: table.number, key, tries: (known?.tries ?? 0) + 1, again: known?.again ?? false }
    this.#save([...this.#suspects.filter((each) => each !== known && each !== this.trying), suspect])
    this.trying = suspect
    this.#untilDurable()
    yield
    if (suspect.tries <= TRIES) return 'take'
    return suspect.tries <= 2 * TRIES ? 'skip' : 'leave'
  }

  /**
   * A change was skipped. `again`: its table must be compared when the copy that is under way is done. It may be tried
   * once more by that.
   */
  skipped(again: boolean): void {
    const skipped = this.trying
    if (!skipped) return
    this.trying = null
    this.#save(this.#suspects.map((each) => (each === skipped ? { ...each, tries: TRIES - 1, again } : each)))
  }

  /** A batch of so many changes is stored, in whose transaction this is called. */
  stored(changes: number): void {
    const taken = this.trying
    if (taken) {
      this.trying = null
      this.#save(this.#suspects.filter((each) => each !== taken))
    }
    if (this.#level === 0) return
    this.#left -= changes
    if (this.#left <= 0) this.#level = 0
    this.#untilDurable()
  }

  /**
   * The copy of a table is done. True: it must be compared once more. What was skipped is forgotten: the next change of
   * the row is tried again.
   */
  copied(t: number): boolean {
    const of = this.#suspects.filter((each) => each.t === t && each !== this.trying)
    if (of.length === 0) return false
    const again = of.some((each) => each.again)
    const others = this.#suspects.filter((each) => !of.includes(each))
    this.#save(again ? [...others, ...of.map((each) => ({ ...each, again: false }))] : others)
    return again
  }

  #find(t: number, key: string): Suspect | undefined {
    return this.#suspects.length === 0 ? undefined : this.#suspects.find((each) => each.t === t && each.key === key)
  }

  #save(suspects: Suspect[]): void {
    this.#suspects = suspects.slice(-SUSPECTS)
    this.#ports.state.set('suspects', this.#suspects)
  }

  #untilDurable(): void {
    if (this.waits) return
    this.waits = true
    // A turn later: what is written by then is one transaction.
    this.#ports.durable().then(() => {
      this.waits = false
      this.#durable.tell()
    }, this.#ports.failed)
  }
}
