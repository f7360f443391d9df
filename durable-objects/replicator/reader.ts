import type { Sql } from 'postgres'
import {
  currentSnapshot,
  emitMarker,
  readChunk,
  readRows,
  relationSize,
  TableDecoder,
  TouchedKeys,
  type Snapshot,
  type Tuple,
} from '../../postgres/index.ts'
import type { Batch } from './batch.ts'
import { imageOf } from './image.ts'
import { keptImage, SLICE_CHANGES, SLICE_LENGTH, type Intake, type SourceTable } from './intake.ts'

/** Where the copy of a table is. `sweep`: after its blocks, rows that we have are looked for in the table. */
export interface CopyState {
  state: 'waiting' | 'copying' | 'sweeping' | 'done'
  filenode: number
  block: number
  blocks: number
  rows: number
  sweep: boolean
  /** The sweep has come to this key. */
  after: string
}

export interface ReaderSources {
  intake: Intake
  sql: Sql
  prefix: string
  tables: readonly SourceTable[]
  copyState(table: SourceTable): CopyState
  progress(table: SourceTable, copy: CopyState): void
  incomplete(): { table: SourceTable; keys: string[] } | null
  keys(table: SourceTable, after: string, limit: number): string[]
  /** Resolves when there is room for further batches. */
  room(): Promise<void>
  /** Waits; rejects when the session is over. */
  pause(milliseconds: number): Promise<void>
  waitsFor(what: string | null): void
  /** The session is about to end: what is left is for the next one. */
  over(): boolean
}

/** Rows that were read, on their way to their place in the stream. */
interface Reading {
  marker: string
  table: SourceTable
  snapshot: Snapshot
  tuples: Tuple[]
  /** What was asked for by key, and what it means when it is not there. */
  keys: string[] | null
  kind: 'chunk' | 'sweep' | 'complete'
  copy: CopyState | null
  done: (applied: boolean) => void
  failed: (error: unknown) => void
}

/** Keys of one table that a delivered transaction may touch before it is remembered as "all". */
const TOUCHED_KEYS = 10_000
/** What a chunk should hold. The number of blocks adapts to what the last one held. */
const CHUNK_ROWS = 4_000
const CHUNK_LENGTH = 2 * 1024 * 1024
const FIRST_CHUNK_BLOCKS = 16
const MAX_CHUNK_BLOCKS = 1_024
const KEYS_PER_READ = 1_000

/**
 * Reads rows of tables beside the stream, for copies, sweeps and rows with missing values, and brings them to the place in the stream where
 * they are right: behind a marker that was emitted after the read, without the rows that a transaction touched which was delivered but not
 * visible to the read.
 */
export class Reader {
  readonly #sources: ReaderSources
  readonly #touched = new TouchedKeys(TOUCHED_KEYS)
  #reading: Reading | null = null
  #number = 0
  #blocks = FIRST_CHUNK_BLOCKS

  constructor(sources: ReaderSources) {
    this.#sources = sources
  }

  /** Copies what is to be copied and completes what is incomplete. */
  async run(): Promise<void> {
    await this.#barrier()
    while (!this.#sources.over()) {
      await this.#sources.room()
      const rows = this.#sources.incomplete()
      if (rows) {
        const { snapshot, tuples } = await readRows(this.#sources.sql, rows.table.catalog, rows.keys)
        await this.#place({ kind: 'complete', table: rows.table, snapshot, tuples, keys: rows.keys, copy: null })
        continue
      }
      const table = this.#sources.tables.find((each) => this.#sources.copyState(each).state !== 'done')
      if (!table) break
      await this.#step(table, this.#sources.copyState(table))
    }
    this.#sources.intake.remember(null, 0n)
  }

  /** A marker came by. True when it was ours. */
  marker(id: string): boolean {
    const reading = this.#reading
    if (reading?.marker !== id) return false
    this.#reading = null
    try {
      reading.done(this.#apply(reading))
    } catch (error) {
      reading.failed(error)
      throw error
    }
    return true
  }

  /**
   * A transaction that was delivered before this reader began to remember may still be invisible. Every such one has an xid below one that is
   * taken now, so nothing is read before all xids up to that one have ended. (Comparing with the xmax of a snapshot is not enough: xmax
   * stands behind the last xid that has ENDED, and a commit that waits for a standby has been streamed and has not.)
   */
  async #barrier(): Promise<void> {
    const { sql, intake, pause, waitsFor } = this.#sources
    intake.remember(this.#touched, (await currentSnapshot(sql)).xmax)
    const [row] = await sql<{ xid: string }[]>`
      SELECT pg_current_xact_id()::text AS xid FROM (SELECT set_config('synchronous_commit', 'off', true)) AS s`
    const xid = BigInt(row?.xid ?? 0)
    for (let wait = 10; (await currentSnapshot(sql)).xmin <= xid; wait = Math.min(wait * 2, 1_000)) {
      waitsFor('transactions that were open when the copy began')
      await pause(wait)
    }
    waitsFor(null)
  }

  async #step(table: SourceTable, copy: CopyState): Promise<void> {
    const { sql, progress, keys } = this.#sources
    if (copy.state === 'waiting') {
      const { filenode, blocks } = await relationSize(sql, table.catalog)
      progress(table, { ...copy, state: 'copying', filenode, blocks, block: 0, rows: 0, after: '' })
      return
    }
    if (copy.state === 'copying') {
      if (copy.block >= copy.blocks) {
        progress(table, { ...copy, state: copy.sweep ? 'sweeping' : 'done' })
        return
      }
      const to = Math.min(copy.block + this.#blocks, copy.blocks)
      const { snapshot, filenode, tuples } = await readChunk(sql, table.catalog, copy.block, to)
      if (filenode !== copy.filenode) {
        // TRUNCATE, VACUUM FULL, ALTER TABLE: the blocks are others now, and rows of the old ones may be gone.
        progress(table, { ...copy, state: 'waiting', sweep: true })
        return
      }
      this.#adapt(to - copy.block, tuples)
      const next = { ...copy, block: to, rows: copy.rows + tuples.length }
      await this.#place({ kind: 'chunk', table, snapshot, tuples, keys: null, copy: next })
      return
    }
    const page = keys(table, copy.after, KEYS_PER_READ)
    const last = page.at(-1)
    if (last === undefined) {
      progress(table, { ...copy, state: 'done', sweep: false })
      return
    }
    const { snapshot, tuples } = await readRows(sql, table.catalog, page)
    await this.#place({ kind: 'sweep', table, snapshot, tuples, keys: page, copy: { ...copy, after: last } })
  }

  #adapt(blocks: number, tuples: readonly Tuple[]): void {
    let length = 0
    for (const tuple of tuples) for (const text of tuple) length += text?.length ?? 4
    const fill = Math.max(tuples.length / CHUNK_ROWS, length / CHUNK_LENGTH, 1 / 64)
    this.#blocks = Math.max(1, Math.min(Math.floor(blocks / fill), blocks * 2, MAX_CHUNK_BLOCKS))
  }

  /** Emits the marker and waits until the stream has come to it. When a table was touched as a whole, the read is repeated by the caller. */
  async #place(reading: Omit<Reading, 'marker' | 'done' | 'failed'>): Promise<boolean> {
    const marker = `${reading.kind} ${++this.#number} ${crypto.randomUUID()}`
    const placed = new Promise<boolean>((done, failed) => (this.#reading = { ...reading, marker, done, failed }))
    const { sql, prefix, pause } = this.#sources
    await emitMarker(sql, prefix, JSON.stringify({ mark: marker }))
    return Promise.race([placed, pause(2 ** 31 - 1).then(() => false)])
  }

  #apply(reading: Reading): boolean {
    const { intake, progress } = this.#sources
    const { table, snapshot, tuples, keys, kind, copy } = reading
    const invisible = this.#touched.invisible(snapshot, table.catalog.oid)
    if (!invisible.all) {
      const names = table.catalog.columns.map((column) => column.name)
      const decoder = new TableDecoder(table.catalog, names)
      const absent = new Set(keys ?? [])
      let at = 0
      // Rows of a chunk are not one transaction: they may be stored in several batches, which bounds what is held.
      while (at < tuples.length) {
        intake.between((batch, settle) => {
          while (at < tuples.length && batch.changes < SLICE_CHANGES && batch.length < SLICE_LENGTH) {
            const tuple = tuples[at++]
            if (!tuple) continue
            const key = decoder.key(tuple)
            absent.delete(key)
            if (invisible.keys.has(key)) continue
            if (kind !== 'sweep') batch.upsert(table, key, decoder.row(tuple).row, keptImage(imageOf(decoder, tuple)))
            settle(table, key, false)
          }
        })
      }
      this.#absent(kind, table, absent, invisible.keys)
      if (copy) progress(table, copy)
    }
    this.#touched.forgetVisible(snapshot)
    return !invisible.all
  }

  /** A row that was not there: of a sweep it is gone, for completion its DELETE came by the stream already. */
  #absent(kind: Reading['kind'], table: SourceTable, absent: ReadonlySet<string>, touched: ReadonlySet<string>): void {
    const gone = [...absent].filter((key) => !touched.has(key))
    if (gone.length === 0) return
    this.#sources.intake.between((batch: Batch, settle) => {
      for (const key of gone) {
        if (kind === 'sweep') batch.remove(table, key)
        settle(table, key, false)
      }
    })
  }
}
