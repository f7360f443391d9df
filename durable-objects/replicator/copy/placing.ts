import type { KeyRange, Rows } from '../../../sources/source.ts'
import { asyncFaultPoint } from '../../shared/fault-points.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import type { CopyState } from './copy-state.ts'

/**
 * What was read, and why. `chunk`: the next rows of a table. `range`: all rows of a counted table whose keys lie there.
 * `sweep`: keys that we have, because a row that is not there is gone. `complete`: rows that lack values; one that is
 * not there was deleted by the stream already.
 */
export type ReadPurpose =
  { kind: 'chunk' } | { kind: 'range'; range: KeyRange } | { kind: 'sweep' | 'complete'; keys: string[] }

/** Rows that were read, on their way to their place in the stream. */
export interface Reading {
  table: FollowedTable
  read: Rows
  purpose: ReadPurpose
  /** How far the table is after this; null when that does not change. */
  copy: CopyState | null
}

/** `repeat`: a transaction touched what the read does not show, so it cannot be used. */
export type PlaceOutcome = 'applied' | 'repeat'

export interface PlacingPorts {
  /** Emits a mark into the source; the stream brings it to `arrived`. */
  mark(mark: string): Promise<void>
  /** Applies what was read. It may become more than one batch: between them it yields. */
  apply(reading: Reading): Generator<undefined, PlaceOutcome>
}

/** Brings one read at a time to its place in the stream: after a mark that was emitted after the read. */
export class Placing {
  readonly #ports: PlacingPorts
  #waiting: { reading: Reading; mark: string; placed: PromiseWithResolvers<PlaceOutcome> } | null = null
  #number = 0
  #failure: unknown = null

  constructor(ports: PlacingPorts) {
    this.#ports = ports
  }

  /** Emits the mark, and resolves when the stream has reached it. */
  async place(reading: Reading): Promise<PlaceOutcome> {
    await asyncFaultPoint('read.rows')
    const mark = `${reading.purpose.kind} ${++this.#number} ${crypto.randomUUID()}`
    const placed = Promise.withResolvers<PlaceOutcome>()
    this.#waiting = { reading, mark, placed }
    // It may fail before it is awaited below.
    placed.promise.catch(() => {})
    if (this.#failure !== null) throw this.#failure
    await this.#ports.mark(mark)
    await asyncFaultPoint('read.marked')
    return placed.promise
  }

  /** A mark has come through the stream. */
  *arrived(mark: string): Generator<undefined, void> {
    const waiting = this.#waiting
    if (waiting?.mark !== mark) return
    this.#waiting = null
    const { reading, placed } = waiting
    try {
      placed.resolve(yield* this.#ports.apply(reading))
    } catch (error) {
      placed.reject(error)
      throw error
    }
  }

  /** The session is over: nothing is applied any more. */
  end(error: unknown): void {
    this.#failure = error
    this.#waiting?.placed.reject(error)
    this.#waiting = null
  }
}
