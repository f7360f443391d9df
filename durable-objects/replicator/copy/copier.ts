import { SourceBusy, type Call, type CopyCursor, type ReadBudget, type TableReader } from '../../../sources/source.ts'
import type { StateForm } from '../../../sources/stored.ts'
import { asyncFaultPoint } from '../../shared/fault-points.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import type { Intake } from '../ingest/intake.ts'
import type { CareOf } from '../ingest/intake-ports.ts'
import { SLICE_LENGTH } from '../limits.ts'
import { cursorOf, withCursor, type CopyState } from './copy-state.ts'
import type { CopyWork } from './copy-work.ts'
import { PlacedRows } from './placed-rows.ts'
import { Placing } from './placing.ts'
import type { RowConsumer } from './row-consumer.ts'
import { TouchedKeys } from './touched-keys.ts'

export interface CopierPorts {
  intake: Intake
  source: TableReader
  /** The form of cursors of this source. */
  form: StateForm
  /** For each call of the source. */
  call(): Call
  /** Emits a mark into the source; the stream brings it to `Copier.marker`. */
  mark(mark: string): Promise<void>
  /** Returns keys of a table in row state after one of them, in order. */
  keys(table: FollowedTable, after: string, limit: number): string[]
  /** Returns keys of a table in row state that lie in the range, in order. */
  range(table: FollowedTable, from: string, to: string | null, limit: number): string[]
  /** Resolves when there is room for further batches. */
  room(): Promise<void>
  /** Waits; rejects when the session is over. */
  pause(milliseconds: number): Promise<void>
  /** What the copier waits for, as text for people. */
  waitsFor(what: string | null): void
  /** As for changes of the stream. */
  care: CareOf | null
  budget?: ReadBudget
}

const BUDGET: ReadBudget = { rows: 8_000, length: SLICE_LENGTH }
/** Keys of one table that a delivered transaction may touch before it is remembered as "all". */
const TOUCHED_KEYS = 10_000
/** Keys and transactions that are remembered while one read waits. */
const MOST_TOUCHED = 200_000
const KEYS_PER_READ = 1_000
const FIRST_COMPLETED = 16
/** A read that had to wait for a lock for too long is tried again after this. */
const LOCKED_MS = 1_000
/** A read that could not be used is repeated after this. */
const REPEAT_MS = 20

/**
 * Reads rows of tables beside the stream, and gives each to its consumer at the place in the stream where it is right.
 * It also completes rows that lack values, and removes those of tables that are not followed any more.
 */
export class Copier {
  readonly #ports: CopierPorts
  readonly #work: CopyWork
  readonly #budget: ReadBudget
  readonly #touched: TouchedKeys
  readonly #placing: Placing
  /** Numbers of tables whose rows are read by key. */
  readonly #completing = new Set<number>()
  #ended: unknown = null
  /** The number of rows that lack values and are read together. Such rows are large, so it adapts to their length. */
  #completed = FIRST_COMPLETED

  constructor(ports: CopierPorts, work: CopyWork, consumer: RowConsumer) {
    this.#ports = ports
    this.#work = work
    this.#budget = ports.budget ?? BUDGET
    const tables = new Map(work.tables.map((table) => [table.number, table]))
    const wanted = (number: number) => {
      const table = tables.get(number)
      return table !== undefined && (this.#completing.has(number) || work.copyState(table).state !== 'done')
    }
    this.#touched = new TouchedKeys(TOUCHED_KEYS, { most: MOST_TOUCHED, wanted })
    const { intake, care, range } = ports
    const rows = new PlacedRows({ intake, work, consumer, care, range, touched: this.#touched })
    this.#placing = new Placing({ mark: (mark) => ports.mark(mark), apply: (reading) => rows.apply(reading) })
  }

  /** The session is over: nothing is applied any more. */
  end(error: unknown): void {
    this.#ended = error
    this.#placing.end(error)
  }

  /** A mark has come through the stream. */
  marker(mark: string): Generator<undefined, void> {
    return this.#placing.arrived(mark)
  }

  /** Reads until nothing is left, or the work is over. */
  async run(): Promise<void> {
    const { intake, source, call, room, pause, waitsFor } = this.#ports
    intake.remember(this.#touched)
    await asyncFaultPoint('read.barrier')
    await source.ready({ pause, waitsFor, seen: (view) => this.#touched.forgetVisible(view) }, call())
    while (!this.#work.isOver()) {
      await room()
      try {
        if ((await this.#turn()) === 'done') break
        waitsFor(null)
      } catch (error) {
        if (!(error instanceof SourceBusy)) throw error
        // An ALTER TABLE may take hours. The stream continues meanwhile.
        waitsFor(error.message)
        await pause(LOCKED_MS)
      }
    }
    intake.remember(null)
  }

  /**
   * Reads some rows that lack values, then some of a table: under load there are always rows that lack values, and the
   * copy must end.
   */
  async #turn(): Promise<'more' | 'done'> {
    const rows = this.#work.incomplete(this.#completed)
    if (rows && (await this.#complete(rows)) === 'cut') return 'more'
    const table = this.#work.tables.find((each) => this.#work.copyState(each).state !== 'done')
    if (table) await this.#step(table, this.#work.copyState(table))
    if (rows || table) return 'more'
    return (await this.#work.removeRetired()) === 'removed' ? 'more' : 'done'
  }

  /** Returns `cut` when the rows were too large: fewer are read next time. */
  async #complete({ table, keys }: { table: FollowedTable; keys: string[] }): Promise<'read' | 'cut'> {
    const { intake, source, call, pause } = this.#ports
    // Its keys are remembered from now on. If one was touched before, the read is repeated.
    this.#completing.add(table.number)
    const read = await source.rows(table.source, keys, 'rows', call())
    if (read.cut) {
      this.#completed = Math.max(1, Math.floor(keys.length / 2))
      return 'cut'
    }
    const fill = Math.max(read.length / this.#budget.length, 1 / 2)
    this.#completed = Math.max(1, Math.min(Math.floor(this.#completed / fill), KEYS_PER_READ))
    await this.#placing.place({ table, read, purpose: { kind: 'complete', keys }, copy: null })
    // They wait for a transaction that snapshots do not see yet. With a synchronous standby that may take long.
    if (keys.every((key) => intake.lacks({ table, key }))) await pause(REPEAT_MS)
    return 'read'
  }

  #step(table: FollowedTable, copy: CopyState): Promise<void> {
    if (copy.state === 'waiting') return this.#begin(table, copy)
    return copy.state === 'copying' ? this.#chunk(table, copy) : this.#sweep(table, copy)
  }

  async #begin(table: FollowedTable, copy: CopyState): Promise<void> {
    const { source, call, form } = this.#ports
    await asyncFaultPoint('read.begin')
    const { cursor, resumed } = await source.begin(table.source, this.#cursor(copy), call())
    const begun: CopyState = { ...copy, state: 'copying', rows: resumed ? copy.rows : 0, after: '' }
    this.#progress(table, withCursor(form, begun, cursor, table.source.progress(cursor).units))
  }

  /** What was read for a session that is over does not count: the table may have to be compared from its beginning. */
  #progress(table: FollowedTable, copy: CopyState): void {
    if (this.#ended !== null) throw this.#ended
    this.#work.progress(table, copy)
  }

  /** A session begins with state of this kind alone: see `prepare`. */
  #cursor(copy: CopyState): CopyCursor | null {
    const found = cursorOf(this.#ports.form, copy)
    return 'foreign' in found ? null : found.cursor
  }

  async #chunk(table: FollowedTable, copy: CopyState): Promise<void> {
    const { source, call, form, pause } = this.#ports
    const cursor = this.#cursor(copy)
    if (cursor === null) return this.#begin(table, copy)
    const chunk = await source.chunk(table.source, cursor, this.#budget, call())
    const next = (cursor: CopyCursor, rows: number): CopyState =>
      withCursor(form, { ...copy, rows: copy.rows + rows }, cursor, table.source.progress(cursor).units)
    switch (chunk.kind) {
      case 'rewritten':
        this.#progress(table, { ...copy, state: 'waiting', sweep: true })
        return
      case 'end': {
        // A pass over all of a counted table has met every row that we have as well.
        const isDone = table.source.counted || !copy.sweep
        this.#progress(
          table,
          isDone ? { ...copy, state: 'done', sweep: false } : { ...copy, state: 'sweeping', after: '' },
        )
        return
      }
      case 'more':
        if (chunk.next !== cursor) this.#progress(table, next(chunk.next, 0))
        return
      case 'rows': {
        const { read, range } = chunk
        const purpose = range === null ? { kind: 'chunk' as const } : { kind: 'range' as const, range }
        const placed = await this.#placing.place({ table, read, purpose, copy: next(chunk.next, read.rows.length) })
        if (placed === 'repeat') await pause(REPEAT_MS)
      }
    }
  }

  /** Looks for rows that we have in the table: those that are not there are gone. */
  async #sweep(table: FollowedTable, copy: CopyState): Promise<void> {
    const { source, call, keys } = this.#ports
    const page = keys(table, copy.after, KEYS_PER_READ)
    const last = page.at(-1)
    if (last === undefined) {
      this.#progress(table, { ...copy, state: 'done', sweep: false })
      return
    }
    const read = await source.rows(table.source, page, 'keys', call())
    await this.#placing.place({ table, read, purpose: { kind: 'sweep', keys: page }, copy: { ...copy, after: last } })
  }
}
