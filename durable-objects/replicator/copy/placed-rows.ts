import type { DecodedRow, KeyRange, ReadRow, Rows } from '../../../sources/source.ts'
import { faultPoint } from '../../shared/fault-points.ts'
import type { Batch } from '../ingest/batch.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import type { Intake } from '../ingest/intake.ts'
import type { CareOf } from '../ingest/intake-ports.ts'
import { ROWS_AHEAD } from '../ingest/preload.ts'
import { SLICE_LENGTH } from '../limits.ts'
import type { CopyWork } from './copy-work.ts'
import { countCopies, isWithin } from './counted-rows.ts'
import type { PlaceOutcome, Reading } from './placing.ts'
import type { RowConsumer } from './row-consumer.ts'
import type { TouchedKeys } from './touched-keys.ts'

/** Keys of a counted table that row state answers at a time. */
export const RANGE_KEYS = 20_000

export interface PlacedRowsPorts {
  intake: Intake
  work: Pick<CopyWork, 'progress'>
  consumer: RowConsumer
  care: CareOf | null
  touched: TouchedKeys
  /** Returns keys of a table in row state that lie in the range, in order. */
  range(table: FollowedTable, from: string, to: string | null, limit: number): string[]
}

type KeysPurpose = Extract<Reading['purpose'], { keys: string[] }>
type Touched = ReadonlyMap<string, number>

/**
 * Applies what was read at its place in the stream, without the rows that a transaction touched which was delivered but
 * not visible to the read: the stream has them newer.
 */
export class PlacedRows {
  readonly #ports: PlacedRowsPorts

  constructor(ports: PlacedRowsPorts) {
    this.#ports = ports
  }

  /** Yields between two batches. */
  *apply(reading: Reading): Generator<undefined, PlaceOutcome> {
    faultPoint('read.apply')
    const { intake, work, consumer, touched } = this.#ports
    const { table, read, purpose, copy } = reading
    const invisible = touched.invisible(read.view, table.number)
    let outcome: PlaceOutcome = invisible.all ? 'repeat' : 'applied'
    consumer.begin()
    if (outcome === 'applied') {
      if (purpose.kind === 'range') outcome = yield* this.#range(table, read.rows, purpose.range, invisible.keys)
      else if (purpose.kind === 'chunk') yield* this.#chunk(table, read.rows, invisible.keys)
      else yield* this.#keys(reading, purpose, invisible.keys)
    }
    if (purpose.kind === 'complete') intake.completions?.keep((row) => intake.lacks(row))
    faultPoint('read.progress')
    if (outcome === 'applied' && copy) work.progress(table, copy)
    touched.forgetVisible(read.view)
    return outcome
  }

  *#chunk(table: FollowedTable, rows: readonly ReadRow[], touched: Touched): Generator<undefined, void> {
    const { consumer } = this.#ports
    yield* this.#inBatches(table, entriesOf(rows), (batch, settle, key, read) => {
      if (touched.has(key)) return
      const { row, image } = read.decode()
      consumer.take(batch, settle, table, key, { row, image, copies: 1 })
    })
  }

  *#keys({ table, read }: Reading, { kind, keys }: KeysPurpose, touched: Touched): Generator<undefined, void> {
    const { intake, consumer } = this.#ports
    if (kind === 'complete') yield* this.#complete(table, read, touched)
    const present = new Set(read.rows.map(({ key }) => key))
    const gone = keys.filter((key) => !present.has(key) && !touched.has(key))
    if (gone.length === 0) return
    intake.between((batch, settle) => {
      for (const key of gone) {
        if (kind === 'sweep') consumer.take(batch, settle, table, key, null)
        else settle(table, key, false)
      }
    })
  }

  /** Rows that lacked values are stored, whatever becomes of others. */
  *#complete(table: FollowedTable, read: Rows, touched: Touched): Generator<undefined, void> {
    yield* this.#inBatches(table, entriesOf(read.rows), (batch, settle, key, each) => {
      const now = touched.has(key) ? this.#newest(table, read, key, each) : each.decode()
      if (now === null) return
      batch.upsert(table, key, now.row, now.image, 1, 'changed')
      settle(table, key, false)
    })
  }

  /**
   * Returns a row that was changed after the read with what the stream has sent since, or null when that is not known,
   * or when the row lacks nothing any more.
   */
  #newest(table: FollowedTable, { view }: Rows, key: string, read: ReadRow): DecodedRow | null {
    const { intake } = this.#ports
    if (!intake.lacks({ table, key })) return null
    const newer = intake.completions?.newer({ table, key }, view)
    return newer ? read.decode(newer) : null
  }

  /** Returns `repeat` when a row exists of which nothing says what it holds. */
  *#range(
    table: FollowedTable,
    rows: readonly ReadRow[],
    { from, to }: KeyRange,
    touched: Touched,
  ): Generator<undefined, PlaceOutcome> {
    const { intake, range, consumer } = this.#ports
    // Row state does not know the keys that are not stored yet.
    intake.flush()
    const read = rows.map((row) => ({ key: row.key, row }))
    // The range is as large as the table is now. What we have of it may be what a much larger table left.
    for (let low: string | null = from; low !== null;) {
      const have = range(table, low, to, RANGE_KEYS + 1)
      const next = have.length > RANGE_KEYS ? (have.pop() ?? null) : null
      const part: KeyRange = { from: low, to: next ?? to }
      const within = read.filter(({ key }) => isWithin(key, part))
      const counted = countCopies(within, have, touched, part)
      if (counted === null) return 'repeat'
      yield* this.#inBatches(table, [...counted], (batch, settle, key, { copies, read: each }) => {
        const found = copies <= 0 ? null : { row: each && each.decode().row, image: null, copies }
        consumer.take(batch, settle, table, key, found)
      })
      low = next
    }
    return 'applied'
  }

  /**
   * Rows that were read are not one transaction: they are stored in as many batches as their ops need, which bounds
   * what is held. Between two batches it yields. Row state is read ahead.
   */
  *#inBatches<T>(
    table: FollowedTable,
    rows: readonly [key: string, what: T][],
    take: (batch: Batch, settle: Intake['settle'], key: string, what: T) => void,
  ): Generator<undefined, void> {
    const { intake, consumer, care } = this.#ports
    const isNoted = (key: string) => care !== null && consumer.isNoted(table, key)
    for (let at = 0; at < rows.length;) {
      if (at > 0 || care?.care.waits) yield
      const [first] = rows[at] ?? ['']
      const taking = care && isNoted(first) ? yield* care.care.about(table, first) : 'take'
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
          const [key, what] = next
          faultPoint('change.apply', { at: `${table.name} ${key}` })
          intake.placed++
          take(batch, settle, key, what)
          // A row that was noted is the only one in its batch, and so is one that is yet to be noted.
          if (care?.care.trying || isNoted(rows[at]?.[0] ?? '')) return
        }
      })
    }
  }
}

const entriesOf = (rows: readonly ReadRow[]): [key: string, row: ReadRow][] => rows.map((row) => [row.key, row])
