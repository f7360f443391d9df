import type { Sql } from 'postgres'
import {
  classStart,
  currentSnapshot,
  HASH_CLASSES,
  isLockTimeout,
  readChunk,
  readClass,
  readRows,
  relationSize,
  TableDecoder,
  TouchedKeys,
  type Snapshot,
  type TablePart,
  type Tuple,
} from '../../../sources/postgres/index.ts'
import { faultPoint, asyncFaultPoint } from '../../shared/fault-points.ts'
import { waitForEarlier } from './barrier.ts'
import type { Batch, BatchTable } from '../ingest/batch.ts'
import { countCopies } from './copies.ts'
import { ROWS_AHEAD } from '../ingest/changed-row.ts'
import { keptImage } from '../ingest/image.ts'
import { SLICE_LENGTH } from '../limits.ts'
import type { CareOf, Intake } from '../ingest/intake.ts'
import type { SourceTable } from '../ingest/source-table.ts'
import type { CopyState } from './copy-state.ts'
import type { FoundRow } from '../verify/source-check.ts'

export interface ReaderPorts {
  intake: Intake
  sql: Sql
  /** Emits a marker into the source; the stream brings it to `Reader.marker`. */
  mark(mark: string): Promise<void>
  tables: readonly SourceTable[]
  copyState(table: SourceTable): CopyState
  progress(table: SourceTable, copy: CopyState): void
  incomplete(limit: number): { table: SourceTable; keys: string[] } | null
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
  compare?(batch: Batch, table: SourceTable, key: string, found: FoundRow | null): void
  /** As for what comes by the stream. */
  care?: CareOf
  chunk?: ChunkSize
  barrier?: typeof waitForEarlier
}

/** What a chunk should hold. The number of blocks, or of classes of hashes, adapts to what the last one held. */
export interface ChunkSize {
  rows: number
  /** UTF-16 units. */
  length: number
  firstBlocks: number
  maxBlocks: number
}

/** Rows without a key that row state answers at a time. */
export const RANGE_KEYS = 20_000
const CHUNK: ChunkSize = { rows: 8_000, length: SLICE_LENGTH, firstBlocks: 16, maxBlocks: 1_024 }

/** Rows that were read, on their way to their place in the stream. */
interface Reading {
  marker: string
  table: SourceTable
  snapshot: Snapshot
  tuples: Tuple[]
  /** What was asked for: keys, and what it means when one is not there; a range of content hashes; or blocks. */
  asked: { kind: 'sweep' | 'complete'; keys: string[] } | { kind: 'class'; from: string; to: string | null } | { kind: 'chunk' }
  copy: CopyState | null
  done: (applied: boolean) => void
  failed: (error: unknown) => void
}

type Read = Pick<Reading, 'table' | 'tuples' | 'snapshot'>

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
  readonly #size: ChunkSize
  readonly #touched: TouchedKeys
  /** OIDs of tables whose rows are read by key. */
  readonly #completing = new Set<number>()
  #ended: unknown = null
  /** By table: blocks or classes of the next chunk. */
  readonly #spans = new Map<number, number>()
  /** By table: rows of the next chunk, where they are so large that a chunk is cut. */
  readonly #rows = new Map<number, number>()
  #reading: Reading | null = null
  #number = 0
  /** Rows with missing values that are read at a time: such rows are large. */
  #completed = FIRST_COMPLETED

  constructor(ports: ReaderPorts) {
    this.#ports = ports
    this.#size = ports.chunk ?? CHUNK
    const reading = new Map(ports.tables.map((table) => [table.catalog.oid, table]))
    const wanted = (oid: number) => {
      const table = reading.get(oid)
      return table !== undefined && (this.#completing.has(oid) || ports.copyState(table).state !== 'done')
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
    const { intake, sql, pause, waitsFor, barrier = waitForEarlier } = this.#ports
    intake.remember(this.#touched, (await currentSnapshot(sql)).xmax)
    await asyncFaultPoint('read.barrier')
    await barrier(sql, pause, waitsFor, (snapshot) => this.#touched.forgetVisible(snapshot))
    while (!this.#ports.over()) {
      await this.#ports.room()
      try {
        if (!(await this.#turn())) break
        waitsFor(null)
      } catch (error) {
        if (!isLockTimeout(error)) throw error
        // ALTER TABLE may take hours; what there is to stream is streamed.
        waitsFor('a lock that somebody else holds on a table')
        await pause(LOCKED_MS)
      }
    }
    intake.remember(null, 0n)
  }

  /** One step of whatever there is to do; false: nothing is. In turns: under load there are always rows that lack values, and the copy must come to an end. */
  async #turn(): Promise<boolean> {
    const rows = this.#ports.incomplete(this.#completed)
    if (rows) {
      // Its keys are remembered from now on; if one was touched before, the read is repeated.
      this.#completing.add(rows.table.catalog.oid)
      const { snapshot, tuples, cut } = await readRows(this.#ports.sql, rows.table.catalog, rows.keys)
      if (cut) {
        this.#completed = Math.max(1, Math.floor(rows.keys.length / 2))
        return true
      }
      const fill = Math.max(lengthOf(tuples) / this.#size.length, 1 / 2)
      this.#completed = Math.max(1, Math.min(Math.floor(this.#completed / fill), KEYS_PER_READ))
      await this.#place({ table: rows.table, snapshot, tuples, asked: { kind: 'complete', keys: rows.keys }, copy: null })
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

  async #step(table: SourceTable, copy: CopyState): Promise<void> {
    if (copy.state === 'waiting') return this.#begin(table, copy)
    if (copy.state === 'copying') return this.#chunk(table, copy)
    const { sql, progress, keys } = this.#ports
    const page = keys(table, copy.after, KEYS_PER_READ)
    const last = page.at(-1)
    if (last === undefined) {
      progress(table, { ...copy, state: 'done', sweep: false })
      return
    }
    const { snapshot, tuples } = await readRows(sql, table.catalog, page, 'keys')
    await this.#place({ table, snapshot, tuples, asked: { kind: 'sweep', keys: page }, copy: { ...copy, after: last } })
  }

  /** The size of a part is that of now: later rows come by the stream. */
  async #begin(table: SourceTable, copy: CopyState): Promise<void> {
    const { sql, progress } = this.#ports
    await asyncFaultPoint('read.begin')
    const { parts, key } = table.catalog
    const at = copy.part ?? 0
    const rows = at === 0 ? 0 : copy.rows
    if (key.length === 0) {
      const { filenode } = await relationSize(sql, table.catalog)
      progress(table, { ...fromBlock(copy), state: 'copying', filenode, blocks: HASH_CLASSES, block: 0, rows, after: '' })
      return
    }
    const part = parts[at]
    if (!part) {
      progress(table, { ...copy, state: copy.sweep ? 'sweeping' : 'done', part: 0, after: '' })
      return
    }
    const { filenode, blocks } = await relationSize(sql, part)
    progress(table, { ...fromBlock(copy), state: 'copying', filenode, blocks, block: 0, rows, after: '' })
  }

  async #chunk(table: SourceTable, copy: CopyState): Promise<void> {
    const { sql, progress } = this.#ports
    const { parts, key } = table.catalog
    const at = copy.part ?? 0
    const part = parts[at]
    if (key.length > 0 && (!part || copy.block >= copy.blocks)) {
      progress(table, { ...copy, state: 'waiting', part: at + 1 })
      return
    }
    if (copy.block >= copy.blocks) {
      // A pass over all hashes has met every row that we have as well.
      progress(table, { ...copy, state: 'done', sweep: false })
      return
    }
    const span = this.#spans.get(table.number) ?? (await this.#firstSpan(table, part))
    const to = Math.min(copy.block + span, copy.blocks)
    const range = { kind: 'class' as const, from: classStart(copy.block) ?? '', to: classStart(to) }
    const most = this.#rows.get(table.number) ?? this.#size.rows
    const read =
      part && key.length > 0
        ? await readChunk(sql, table.catalog, part, { block: copy.block, item: copy.item ?? 0 }, to, most)
        : { ...(await readClass(sql, table.catalog, range.from, range.to, to - copy.block > 1)), next: null }
    const { snapshot, filenode, tuples, next: rest } = read
    if (filenode !== copy.filenode) {
      // TRUNCATE, VACUUM FULL, ALTER TABLE: the blocks are others now, and rows of the old ones may be gone.
      progress(table, { ...copy, state: 'waiting', sweep: true })
      return
    }
    this.#adapt(table, Math.max(1, (rest?.block ?? to) - copy.block), tuples)
    if (read.cut && key.length === 0) {
      // All copies of a row must be of one snapshot.
      this.#spans.set(table.number, Math.max(1, Math.floor((to - copy.block) / 4)))
      return
    }
    const next: CopyState = { ...fromBlock(copy), block: to, rows: copy.rows + tuples.length }
    if (rest) Object.assign(next, { block: rest.block, item: rest.item })
    const asked = key.length > 0 ? { kind: 'chunk' as const } : range
    if (!(await this.#place({ table, snapshot, tuples, asked, copy: next }))) await this.#ports.pause(REPEAT_MS)
  }

  /** What is stored out of line counts as well. Every class is a scan of the whole table, so a small table is read in one go. */
  async #firstSpan(table: SourceTable, of: TablePart | undefined): Promise<number> {
    const { sql } = this.#ports
    if (of && table.catalog.key.length > 0) {
      const { blocks, outOfLine } = await relationSize(sql, of)
      return Math.max(1, Math.floor((this.#size.firstBlocks * blocks) / Math.max(1, blocks + outOfLine)))
    }
    let blocks = 0
    for (const part of table.catalog.parts) {
      const size = await relationSize(sql, part)
      blocks += size.blocks + size.outOfLine
    }
    return Math.max(1, Math.min(HASH_CLASSES, Math.floor((HASH_CLASSES * this.#size.firstBlocks * 4) / Math.max(1, blocks))))
  }

  #adapt(table: SourceTable, span: number, tuples: readonly Tuple[]): void {
    const length = lengthOf(tuples)
    const fill = Math.max(tuples.length / this.#size.rows, length / this.#size.length, 1 / 64)
    // Texts of rows that would be cut off are made for nothing.
    if (tuples.length > 0) {
      this.#rows.set(
        table.number,
        Math.max(1, Math.min(this.#size.rows, Math.ceil((2 * this.#size.length * tuples.length) / Math.max(1, length)))),
      )
    }
    const most = table.catalog.key.length > 0 ? this.#size.maxBlocks : HASH_CLASSES
    this.#spans.set(table.number, Math.max(1, Math.min(Math.floor(span / fill), span * 2, most)))
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
    const { table, snapshot, tuples, asked, copy } = reading
    const invisible = this.#touched.invisible(snapshot, table.catalog.oid)
    let applied = !invisible.all
    // What is compared is what is stored.
    if (this.#ports.compare) this.#ports.intake.flush()
    if (applied) {
      if (asked.kind === 'class') applied = yield* this.#applyClass(table, tuples, asked, invisible.keys)
      else if (asked.kind === 'chunk') yield* this.#applyRows(reading, invisible.keys, new Set(), asked.kind)
      else yield* this.#applyKeys(reading, invisible.keys, asked)
    }
    if (asked.kind === 'complete') this.#ports.intake.completions?.keep((row) => this.#ports.intake.lacks(row))
    faultPoint('read.progress')
    if (applied && copy) this.#ports.progress(table, copy)
    this.#touched.forgetVisible(snapshot)
    return applied
  }

  /** Rows of a chunk are not one transaction: they are stored in as many batches as their ops need, which bounds what is held. */
  *#applyRows(
    { table, tuples, snapshot }: Read,
    touched: ReadonlyMap<string, number>,
    absent: Set<string>,
    kind: 'chunk' | 'sweep' | 'complete',
  ): Generator<undefined, void> {
    const decoder = decoderOf(table)
    const { compare } = this.#ports
    const rows = tuples.map((tuple): [key: string, tuple: Tuple] => [decoder.key(tuple), tuple])
    for (const [key] of rows) absent.delete(key)
    if (kind === 'sweep') return
    yield* this.#inBatches(table, rows, (batch, key, tuple, settle) => {
      const now = touched.has(key) ? this.#rowOfNow(table, kind, key, tuple, snapshot) : tuple
      if (now === null) return
      const image = table.catalog.identity === 'f' ? null : keptImage(decoder, now)
      const { row } = decoder.row(now)
      if (compare && kind === 'chunk') compare(batch, table, key, { row, image, copies: 1 })
      else {
        // What lacked values has changed.
        batch.upsert(table, key, row, image, 1, kind === 'complete' ? 'changed' : 'read')
        settle(table, key, false)
      }
    })
  }

  /** A row that lacks values and was changed behind the read; null when it lacks none any more, or it is not known. */
  #rowOfNow(table: SourceTable, kind: 'chunk' | 'sweep' | 'complete', key: string, tuple: Tuple, snapshot: Snapshot): Tuple | null {
    const { intake } = this.#ports
    if (kind !== 'complete' || !intake.lacks({ table, key })) return null
    const names = table.catalog.columns.map(({ name }) => name)
    return intake.completions?.complete({ table, key }, names, tuple, snapshot) ?? null
  }

  /** One after the other, in as many batches as their ops need: between these it yields. State is asked for ahead. */
  *#inBatches<T>(
    table: SourceTable,
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
    table: SourceTable,
    tuples: readonly Tuple[],
    { from, to }: { from: string; to: string | null },
    touched: ReadonlyMap<string, number>,
  ): Generator<undefined, boolean> {
    const { intake, range, compare } = this.#ports
    // What is not stored yet is not among the keys that we have.
    intake.flush()
    const decoder = decoderOf(table)
    const read = tuples.map((tuple) => ({ key: decoder.key(tuple), tuple }))
    // The range is as large as the table is now; what we have of it may be what a much larger table left.
    for (let low: string | null = from; low !== null;) {
      const have = range(table, keyFrom(low), to === null ? null : keyFrom(to), RANGE_KEYS + 1)
      const next = have.length > RANGE_KEYS ? hashOf(have.pop() ?? '') : null
      const part: { from: string; to: string | null } = { from: low, to: next ?? to }
      const counted = countCopies(
        read.filter(({ key }) => hashOf(key) >= part.from && (part.to === null || hashOf(key) < part.to)),
        have,
        touched,
        part,
      )
      if (counted === null) return false
      yield* this.#inBatches(table, [...counted], (batch, key, { copies, tuple }) => {
        if (compare) {
          const row = tuple && decoder.row(tuple).row
          compare(batch, table, key, copies <= 0 ? null : { row, image: null, copies })
        } else if (copies <= 0) batch.remove(table, key)
        else if (tuple) batch.upsert(table, key, decoder.row(tuple).row, null, copies, 'read')
        else batch.setCopies(table, key, copies)
      })
      low = next
    }
    return true
  }
}

/** Keys of rows without a key are the hash in a JSON array: where those of a hash begin, and the hash of a key. */
const keyFrom = (hash: string): string => `["${hash}`
const hashOf = (key: string): string => key.slice(2, -2)

/** At the beginning of a block. */
const fromBlock = ({ item: _, ...copy }: CopyState): CopyState => copy

/** UTF-16 units. */
function lengthOf(tuples: readonly Tuple[]): number {
  let length = 0
  for (const tuple of tuples) for (const text of tuple) length += typeof text === 'string' ? text.length : 4
  return length
}

function decoderOf(table: SourceTable): TableDecoder {
  const names = table.catalog.columns.map((column) => column.name)
  return new TableDecoder(table.catalog, names)
}
