import {
  SourceBusy,
  type Call,
  type CopyCursor,
  type DecodedRow,
  type KeyRange,
  type ReadBudget,
  type ReadRow,
  type Rows,
  type TableReader,
} from '../../../sources/source.ts'
import type { StateForm } from '../../../sources/stored.ts'
import { faultPoint, asyncFaultPoint } from '../../shared/fault-points.ts'
import type { Batch, BatchTable } from '../ingest/batch.ts'
import { countCopies, isWithin } from './copies.ts'
import { ROWS_AHEAD } from '../ingest/preload.ts'
import { SLICE_LENGTH } from '../limits.ts'
import type { CareOf, Intake } from '../ingest/intake.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import { cursorOf, withCursor, type CopyState } from './copy-state.ts'
import { TouchedKeys } from './touched-keys.ts'
import type { FoundRow } from '../verify/source-check.ts'

export interface ReaderPorts {
  intake: Intake
  source: TableReader
  /** Of the source: whose cursors they are. */
  form: StateForm
  /** For each call of the source. */
  call(): Call
  /** Emits a mark into the source; the stream brings it to `Reader.marker`. */
  mark(mark: string): Promise<void>
  tables: readonly FollowedTable[]
  copyState(table: FollowedTable): CopyState
  progress(table: FollowedTable, copy: CopyState): void
  incomplete(limit: number): { table: FollowedTable; keys: string[] } | null
  /** A table that is not followed any more, whose rows are to be taken out. */
  retired(): BatchTable | null
  /** The table that goes by its name now. */
  successor(table: BatchTable): BatchTable | null
  forget(table: BatchTable): void
  keys(table: BatchTable, after: string, limit: number): string[]
  range(table: BatchTable, from: string, to: string | null, limit: number): string[]
  /** Resolves when there is room for further batches. */
  room(): Promise<void>
  /** Waits; rejects when the session is over. */
  pause(milliseconds: number): Promise<void>
  waitsFor(what: string | null): void
  /** The session is about to end: what is left is for the next one. */
  over(): boolean
  /** What was read of a copy is not put into the batch, but compared with it: the row, or null when it is gone. */
  compare?(batch: Batch, table: FollowedTable, key: string, found: FoundRow | null): void
  /** As for what comes by the stream. */
  care?: CareOf
  /** What a chunk should hold. */
  budget?: ReadBudget
}

/** Rows without a key that row state answers at a time. */
export const RANGE_KEYS = 20_000
const BUDGET: ReadBudget = { rows: 8_000, length: SLICE_LENGTH }

/** Rows that were read, on their way to their place in the stream. */
interface Reading {
  marker: string
  table: FollowedTable
  read: Rows
  /** What was asked for: keys, and what it means when one is not there; a range of a counted table; or a chunk of another one. */
  asked: { kind: 'sweep' | 'complete'; keys: string[] } | { kind: 'class'; range: KeyRange } | { kind: 'chunk' }
  copy: CopyState | null
  done: (applied: boolean) => void
  failed: (error: unknown) => void
}

type Read = Pick<Reading, 'table' | 'read'>

/** Keys of one table that a delivered transaction may touch before it is remembered as "all". */
const TOUCHED_KEYS = 10_000
/** Keys and transactions that are remembered while one read waits. */
const MOST_TOUCHED = 200_000
const KEYS_PER_READ = 1_000
const FIRST_COMPLETED = 16
/** What waited in vain for a lock is tried again after a while. */
const LOCKED_MS = 1_000
/** A read in vain is repeated after this. */
const REPEAT_MS = 20

/**
 * Reads rows of tables beside the stream, for copies, sweeps and rows with missing values, and brings them to the place in the stream where
 * they are right: behind a marker that was emitted after the read, without the rows that a transaction touched which was delivered but not
 * visible to the read.
 */
export class Reader {
  readonly #ports: ReaderPorts
  readonly #budget: ReadBudget
  readonly #touched: TouchedKeys
  /** Numbers of tables whose rows are read by key. */
  readonly #completing = new Set<number>()
  #ended: unknown = null
  #reading: Reading | null = null
  #number = 0
  /** Rows with missing values that are read at a time: such rows are large. */
  #completed = FIRST_COMPLETED

  constructor(ports: ReaderPorts) {
    this.#ports = ports
    this.#budget = ports.budget ?? BUDGET
    const reading = new Map(ports.tables.map((table) => [table.number, table]))
    const wanted = (number: number) => {
      const table = reading.get(number)
      return table !== undefined && (this.#completing.has(number) || ports.copyState(table).state !== 'done')
    }
    this.#touched = new TouchedKeys(TOUCHED_KEYS, { most: MOST_TOUCHED, wanted })
  }

  /** The session is over: nothing is brought to its place any more. */
  end(error: unknown): void {
    this.#ended = error
    this.#reading?.failed(error)
    this.#reading = null
  }

  /** Copies what is to be copied, completes what is incomplete, and takes out what is not followed any more. */
  async run(): Promise<void> {
    const { intake, source, call, pause, waitsFor } = this.#ports
    intake.remember(this.#touched)
    await asyncFaultPoint('read.barrier')
    await source.ready({ pause, waitsFor, seen: (view) => this.#touched.forgetVisible(view) }, call())
    while (!this.#ports.over()) {
      await this.#ports.room()
      try {
        if (!(await this.#turn())) break
        waitsFor(null)
      } catch (error) {
        if (!(error instanceof SourceBusy)) throw error
        // An ALTER TABLE may take hours; what there is to stream is streamed.
        waitsFor(error.message)
        await pause(LOCKED_MS)
      }
    }
    intake.remember(null)
  }

  /** One step of whatever there is to do; false: nothing is. In turns: under load there are always rows that lack values, and the copy must come to an end. */
  async #turn(): Promise<boolean> {
    const rows = this.#ports.incomplete(this.#completed)
    if (rows) {
      // Its keys are remembered from now on; if one was touched before, the read is repeated.
      this.#completing.add(rows.table.number)
      const { source, call } = this.#ports
      const read = await source.rows(rows.table.source, rows.keys, 'rows', call())
      if (read.cut) {
        this.#completed = Math.max(1, Math.floor(rows.keys.length / 2))
        return true
      }
      const fill = Math.max(read.length / this.#budget.length, 1 / 2)
      this.#completed = Math.max(1, Math.min(Math.floor(this.#completed / fill), KEYS_PER_READ))
      await this.#place({ table: rows.table, read, asked: { kind: 'complete', keys: rows.keys }, copy: null })
      // What they wait for is a transaction that snapshots do not see yet: with a synchronous standby that may take long.
      if (rows.keys.every((key) => this.#ports.intake.lacks({ table: rows.table, key }))) await this.#ports.pause(REPEAT_MS)
    }
    const table = this.#ports.tables.find((each) => this.#ports.copyState(each).state !== 'done')
    if (table) await this.#step(table, this.#ports.copyState(table))
    if (rows || table) return true
    const retired = this.#ports.retired()
    if (retired) await this.#takeOut(retired)
    return retired !== null
  }

  /** A marker came by. What was read may become more than one batch: between them it yields. */
  *marker(id: string): Generator<undefined, void> {
    const reading = this.#reading
    if (reading?.marker !== id) return
    this.#reading = null
    try {
      reading.done(yield* this.#apply(reading))
    } catch (error) {
      reading.failed(error)
      throw error
    }
  }

  async #step(table: FollowedTable, copy: CopyState): Promise<void> {
    if (copy.state === 'waiting') return this.#begin(table, copy)
    if (copy.state === 'copying') return this.#chunk(table, copy)
    const { source, call, progress, keys } = this.#ports
    const page = keys(table, copy.after, KEYS_PER_READ)
    const last = page.at(-1)
    if (last === undefined) {
      progress(table, { ...copy, state: 'done', sweep: false })
      return
    }
    const read = await source.rows(table.source, page, 'keys', call())
    await this.#place({ table, read, asked: { kind: 'sweep', keys: page }, copy: { ...copy, after: last } })
  }

  async #begin(table: FollowedTable, copy: CopyState): Promise<void> {
    const { source, call, form, progress } = this.#ports
    await asyncFaultPoint('read.begin')
    const { cursor, resumed } = await source.begin(table.source, this.#cursor(copy), call())
    const begun: CopyState = { ...copy, state: 'copying', rows: resumed ? copy.rows : 0, after: '' }
    progress(table, withCursor(form, begun, cursor, table.source.progress(cursor).units))
  }

  /** A session begins with state of this kind alone: see `prepare`. */
  #cursor(copy: CopyState): CopyCursor | null {
    const found = cursorOf(this.#ports.form, copy)
    return 'foreign' in found ? null : found.cursor
  }

  async #chunk(table: FollowedTable, copy: CopyState): Promise<void> {
    const { source, call, form, progress, pause } = this.#ports
    const cursor = this.#cursor(copy)
    if (cursor === null) return this.#begin(table, copy)
    const chunk = await source.chunk(table.source, cursor, this.#budget, call())
    const next = (cursor: CopyCursor, rows: number): CopyState =>
      withCursor(form, { ...copy, rows: copy.rows + rows }, cursor, table.source.progress(cursor).units)
    switch (chunk.kind) {
      case 'rewritten':
        progress(table, { ...copy, state: 'waiting', sweep: true })
        return
      case 'end':
        // A pass over all of a counted table has met every row that we have as well.
        progress(
          table,
          table.source.counted || !copy.sweep ? { ...copy, state: 'done', sweep: false } : { ...copy, state: 'sweeping', after: '' },
        )
        return
      case 'more':
        if (chunk.next !== cursor) progress(table, next(chunk.next, 0))
        return
      case 'rows': {
        const { read, range } = chunk
        const asked = range === null ? { kind: 'chunk' as const } : { kind: 'class' as const, range }
        if (!(await this.#place({ table, read, asked, copy: next(chunk.next, read.rows.length) }))) await pause(REPEAT_MS)
      }
    }
  }

  /** Its rows do not come by the stream any more, so nothing has to be brought to its place. */
  async #takeOut(table: BatchTable): Promise<void> {
    const { intake, keys, forget, room, pause, successor } = this.#ports
    while (!intake.isBetween) await pause(1)
    const page = keys(table, '', KEYS_PER_READ)
    if (page.length === 0) return forget(table)
    intake.between((batch) => {
      const next = successor(table)
      batch.load(table, page)
      if (next) batch.load(next, page)
      for (const key of page) batch.remove(table, key, next)
    })
    await room()
  }

  /** Emits the marker and waits until the stream has come to it. False when a touched table forbids to use what was read. */
  async #place(reading: Omit<Reading, 'marker' | 'done' | 'failed'>): Promise<boolean> {
    await asyncFaultPoint('read.rows')
    const marker = `${reading.asked.kind} ${++this.#number} ${crypto.randomUUID()}`
    const placed = new Promise<boolean>((done, failed) => (this.#reading = { ...reading, marker, done, failed }))
    // Nobody may be waiting yet when it fails.
    placed.catch(() => {})
    if (this.#ended !== null) throw this.#ended
    const { mark } = this.#ports
    await mark(marker)
    await asyncFaultPoint('read.marked')
    return placed
  }

  *#apply(reading: Reading): Generator<undefined, boolean> {
    faultPoint('read.apply')
    const { table, read, asked, copy } = reading
    const invisible = this.#touched.invisible(read.view, table.number)
    let applied = !invisible.all
    // What is compared is what is stored.
    if (this.#ports.compare) this.#ports.intake.flush()
    if (applied) {
      if (asked.kind === 'class') applied = yield* this.#applyClass(table, read.rows, asked.range, invisible.keys)
      else if (asked.kind === 'chunk') yield* this.#applyRows(reading, invisible.keys, new Set(), asked.kind)
      else yield* this.#applyKeys(reading, invisible.keys, asked)
    }
    if (asked.kind === 'complete') this.#ports.intake.completions?.keep((row) => this.#ports.intake.lacks(row))
    faultPoint('read.progress')
    if (applied && copy) this.#ports.progress(table, copy)
    this.#touched.forgetVisible(read.view)
    return applied
  }

  /** Rows of a chunk are not one transaction: they are stored in as many batches as their ops need, which bounds what is held. */
  *#applyRows(
    { table, read }: Read,
    touched: ReadonlyMap<string, number>,
    absent: Set<string>,
    kind: 'chunk' | 'sweep' | 'complete',
  ): Generator<undefined, void> {
    const { compare } = this.#ports
    const rows = read.rows.map((row): [key: string, row: ReadRow] => [row.key, row])
    for (const [key] of rows) absent.delete(key)
    if (kind === 'sweep') return
    yield* this.#inBatches(table, rows, (batch, key, each, settle) => {
      const now = touched.has(key) ? this.#rowOfNow({ table, read }, kind, key, each) : each.decode()
      if (now === null) return
      const { row, image } = now
      if (compare && kind === 'chunk') compare(batch, table, key, { row, image, copies: 1 })
      else {
        // What lacked values has changed.
        batch.upsert(table, key, row, image, 1, kind === 'complete' ? 'changed' : 'read')
        settle(table, key, false)
      }
    })
  }

  /** A row that lacks values and was changed behind the read; null when it lacks none any more, or it is not known. */
  #rowOfNow({ table, read }: Read, kind: 'chunk' | 'complete', key: string, row: ReadRow): DecodedRow | null {
    const { intake } = this.#ports
    if (kind !== 'complete' || !intake.lacks({ table, key })) return null
    const newer = intake.completions?.newer({ table, key }, read.view)
    return newer ? row.decode(newer) : null
  }

  /** One after the other, in as many batches as their ops need: between these it yields. State is asked for ahead. */
  *#inBatches<T>(
    table: FollowedTable,
    rows: readonly [key: string, what: T][],
    take: (batch: Batch, key: string, what: T, settle: Intake['settle']) => void,
  ): Generator<undefined, void> {
    const { intake, compare, care } = this.#ports
    const notes = (key: string) => !compare && (care?.care.notes(table, key) ?? false)
    for (let at = 0; at < rows.length;) {
      if (at > 0 || care?.care.waits) yield
      const [first] = rows[at] ?? ['']
      const taking = care && notes(first) ? yield* care.care.about(table, first) : 'take'
      intake.between((batch, settle) => {
        if (taking !== 'take') {
          at++
          if (taking === 'skip') batch.remove(table, first)
          settle(table, first, false)
          care?.skipped(table, first, taking === 'leave')
          return
        }
        for (let loaded = at; at < rows.length && batch.changes < intake.sliceChanges && batch.length < SLICE_LENGTH;) {
          if (at === loaded) {
            loaded += Math.min(ROWS_AHEAD, intake.sliceChanges)
            const keys = rows.slice(at, loaded).map(([key]) => key)
            batch.load(table, keys)
          }
          const next = rows[at++]
          if (!next) return
          faultPoint('change.apply', { at: `${table.name} ${next[0]}` })
          intake.placed++
          take(batch, ...next, settle)
          // A change that was noted is the only one in its batch, and so is one that is yet to be noted.
          if (care?.care.trying || notes(rows[at]?.[0] ?? '')) return
        }
      })
    }
  }

  /** A row that was not there: of a sweep it is gone, for completion its DELETE came by the stream already. */
  *#applyKeys(
    read: Read,
    touched: ReadonlyMap<string, number>,
    asked: { kind: 'sweep' | 'complete'; keys: string[] },
  ): Generator<undefined, void> {
    const absent = new Set(asked.keys)
    const { compare } = this.#ports
    const sweep = asked.kind === 'sweep'
    yield* this.#applyRows(read, touched, absent, asked.kind)
    const { table } = read
    const gone = [...absent].filter((key) => !touched.has(key))
    if (gone.length === 0) return
    this.#ports.intake.between((batch: Batch, settle) => {
      for (const key of gone) {
        if (sweep && compare) {
          compare(batch, table, key, null)
          continue
        }
        if (sweep) batch.remove(table, key)
        settle(table, key, false)
      }
    })
  }

  /** False when it must be read again: a row is there of which nothing says what it holds. */
  *#applyClass(
    table: FollowedTable,
    rows: readonly ReadRow[],
    { from, to }: KeyRange,
    touched: ReadonlyMap<string, number>,
  ): Generator<undefined, boolean> {
    const { intake, range, compare } = this.#ports
    // What is not stored yet is not among the keys that we have.
    intake.flush()
    const read = rows.map((row) => ({ key: row.key, row }))
    // The range is as large as the table is now; what we have of it may be what a much larger table left.
    for (let low: string | null = from; low !== null;) {
      const have = range(table, low, to, RANGE_KEYS + 1)
      const next = have.length > RANGE_KEYS ? (have.pop() ?? null) : null
      const part: KeyRange = { from: low, to: next ?? to }
      const within = read.filter(({ key }) => isWithin(key, part))
      const counted = countCopies(within, have, touched, part)
      if (counted === null) return false
      yield* this.#inBatches(table, [...counted], (batch, key, { copies, read: found }) => {
        const row = found && found.decode().row
        if (compare) compare(batch, table, key, copies <= 0 ? null : { row, image: null, copies })
        else if (copies <= 0) batch.remove(table, key)
        else if (row) batch.upsert(table, key, row, null, copies, 'read')
        else batch.setCopies(table, key, copies)
      })
      low = next
    }
    return true
  }
}
