import type { Sql } from 'postgres'
import type {
  Call,
  Chunk,
  CopyCursor,
  DecodedRow,
  ReadBudget,
  ReadRow,
  ReadyWait,
  Rows,
  SourceTable,
  TableReader,
  TxView,
} from '../../source.ts'
import { SourceBusy, type ColumnValues } from '../../source.ts'
import { postgresTable, type PostgresTable } from '../postgres-table.ts'
import { keptImage } from '../stream/row-image.ts'
import type { Snapshot, TablePart, Tuple, TupleValue } from '../types.ts'
import { isLockTimeout } from '../wire/connection.ts'
import { waitForEarlier } from './barrier.ts'
import { readChunk, readClass, readRows, relationSize } from './chunk.ts'
import { classStart, HASH_CLASSES } from './content-key.ts'
import { postgresCursor, type PostgresCursor } from './cursor.ts'
import { isVisible } from './snapshot.ts'

/**
 * How many blocks, or classes of hashes, the first read and the largest one cover. The number adapts to the size of the
 * last read.
 */
export interface Spans {
  firstBlocks: number
  maxBlocks: number
}
const SPANS: Spans = { firstBlocks: 16, maxBlocks: 1_024 }

export interface PostgresReaderPorts {
  sql: Sql
  /** Makes a call with a deadline. */
  inTime<T>(call: Call, work: () => Promise<T>): Promise<T>
  spans?: Spans
  /** Replaced by tests that show what happens without it. */
  barrier?: typeof waitForEarlier
}

export const viewOf = (snapshot: Snapshot): TxView => ({
  sees: (tx) => isVisible(snapshot, tx),
  seesAllUpTo: (tx) => tx < snapshot.xmin,
})

/**
 * Reads rows of tables by block, by hash of their content, or by key. Each read is one statement, which also says what
 * it saw.
 */
export class PostgresReader implements TableReader {
  readonly #ports: PostgresReaderPorts
  readonly #spans: Spans
  /** The number of blocks or classes of a table's next chunk. */
  readonly #next = new WeakMap<PostgresTable, number>()
  /** The number of rows of a table's next chunk, where rows are so large that chunks are cut. */
  readonly #rows = new WeakMap<PostgresTable, number>()

  constructor(ports: PostgresReaderPorts) {
    this.#ports = ports
    this.#spans = ports.spans ?? SPANS
  }

  /** May wait for as long as others keep a transaction open. The deadline applies to each of its statements. */
  ready({ pause, waitsFor, seen }: ReadyWait, call: Call): Promise<void> {
    const { sql, inTime, barrier = waitForEarlier } = this.#ports
    return barrier(
      (work) => inTime(call, () => work(sql)),
      pause,
      waitsFor,
      (snapshot) => seen(viewOf(snapshot)),
    )
  }

  /** Uses the present size of a part, because later rows come through the stream. */
  async begin(
    of: SourceTable,
    before: CopyCursor | null,
    call: Call,
  ): Promise<{ cursor: PostgresCursor; resumed: boolean }> {
    const table = postgresTable(of)
    const { part = 0 } = before ? postgresCursor(before) : {}
    return { cursor: await this.#part(table, part, call), resumed: part > 0 }
  }

  async #part(table: PostgresTable, part: number, call: Call): Promise<PostgresCursor> {
    const of = table.counted ? table.catalog : table.catalog.parts[part]
    if (!of) return { filenode: 0, part, block: 0, blocks: 0 }
    const { filenode, blocks } = await this.#asked(call, (sql) => relationSize(sql, of))
    return { filenode, part, block: 0, blocks: table.counted ? HASH_CLASSES : blocks }
  }

  async chunk(of: SourceTable, at: CopyCursor, budget: ReadBudget, call: Call): Promise<Chunk> {
    const table = postgresTable(of)
    const cursor = postgresCursor(at)
    const { part = 0 } = cursor
    const lies = table.catalog.parts[part]
    if (cursor.block >= cursor.blocks) {
      // A pass over all hashes has read every row.
      if (table.counted || part + 1 >= table.catalog.parts.length) return { kind: 'end' }
      return { kind: 'more', next: await this.#part(table, part + 1, call) }
    }
    const span = this.#next.get(table) ?? (await this.#firstSpan(table, lies, call))
    const to = Math.min(cursor.block + span, cursor.blocks)
    if (table.counted) return this.#class(table, cursor, to, budget, call)
    if (!lies) return { kind: 'end' }
    const most = this.#rows.get(table) ?? budget.rows
    const place = { block: cursor.block, item: cursor.item ?? 0 }
    const read = await this.#asked(call, (sql) => readChunk(sql, table.catalog, lies, place, to, most))
    // After TRUNCATE, VACUUM FULL or ALTER TABLE the blocks are new, and rows of the old ones may be gone.
    if (read.filenode !== cursor.filenode) return { kind: 'rewritten' }
    this.#adapt(table, Math.max(1, (read.next?.block ?? to) - cursor.block), read.tuples, budget)
    const { filenode, blocks } = cursor
    const next = read.next
      ? { filenode, part, block: read.next.block, item: read.next.item, blocks }
      : { filenode, part, block: to, blocks }
    return { kind: 'rows', read: rowsOf(table, read), next, range: null }
  }

  async #class(
    table: PostgresTable,
    cursor: PostgresCursor,
    to: number,
    budget: ReadBudget,
    call: Call,
  ): Promise<Chunk> {
    const { filenode, part = 0, block, blocks } = cursor
    const [from, end] = [classStart(block) ?? '', classStart(to)]
    const read = await this.#asked(call, (sql) => readClass(sql, table.catalog, from, end, to - block > 1))
    if (read.filenode !== filenode) return { kind: 'rewritten' }
    this.#adapt(table, Math.max(1, to - block), read.tuples, budget)
    if (read.cut) {
      // All copies of a row must come from one snapshot.
      this.#next.set(table, Math.max(1, Math.floor((to - block) / 4)))
      return { kind: 'more', next: cursor }
    }
    const range = { from: keyFrom(from), to: end === null ? null : keyFrom(end) }
    return { kind: 'rows', read: rowsOf(table, read), next: { filenode, part, block: to, blocks }, range }
  }

  async rows(
    of: SourceTable,
    keys: readonly string[],
    what: 'rows' | 'keys',
    call: Call,
  ): Promise<Rows & { cut: boolean }> {
    const table = postgresTable(of)
    const read = await this.#asked(call, (sql) => readRows(sql, table.catalog, keys, what))
    return { ...rowsOf(table, read), cut: read.cut }
  }

  /**
   * Returns the size of the first chunk. TOAST counts as well. Every class is a scan of the whole table, so a small
   * table is read at once.
   */
  async #firstSpan(table: PostgresTable, part: TablePart | undefined, call: Call): Promise<number> {
    const { firstBlocks } = this.#spans
    const size = (of: TablePart) => this.#asked(call, (sql) => relationSize(sql, of))
    if (part && !table.counted) {
      const { blocks, outOfLine } = await size(part)
      return Math.max(1, Math.floor((firstBlocks * blocks) / Math.max(1, blocks + outOfLine)))
    }
    let blocks = 0
    for (const each of table.catalog.parts) {
      const found = await size(each)
      blocks += found.blocks + found.outOfLine
    }
    return Math.max(1, Math.min(HASH_CLASSES, Math.floor((HASH_CLASSES * firstBlocks * 4) / Math.max(1, blocks))))
  }

  #adapt(table: PostgresTable, span: number, tuples: readonly Tuple[], { rows, length: most }: ReadBudget): void {
    const length = lengthOf(tuples)
    const fill = Math.max(tuples.length / rows, length / most, 1 / 64)
    // Asks for fewer rows next time, because computing texts of rows that are cut off is wasted work.
    if (tuples.length > 0) {
      this.#rows.set(table, Math.max(1, Math.min(rows, Math.ceil((2 * most * tuples.length) / Math.max(1, length)))))
    }
    const widest = table.counted ? HASH_CLASSES : this.#spans.maxBlocks
    this.#next.set(table, Math.max(1, Math.min(Math.floor(span / fill), span * 2, widest)))
  }

  async #asked<T>(call: Call, statement: (sql: Sql) => Promise<T>): Promise<T> {
    const { sql, inTime } = this.#ports
    try {
      return await inTime(call, () => statement(sql))
    } catch (error) {
      if (isLockTimeout(error)) throw new SourceBusy('a lock that somebody else holds on a table', { cause: error })
      throw error
    }
  }
}

class TupleRow implements ReadRow {
  readonly #table: PostgresTable
  readonly #tuple: Tuple

  constructor(table: PostgresTable, tuple: Tuple) {
    this.#table = table
    this.#tuple = tuple
  }

  get key(): string {
    return this.#table.decoder.key(this.#tuple)
  }

  decode(newer?: ColumnValues): DecodedRow {
    const { decoder, keepsImages } = this.#table
    const tuple = newer
      ? decoder.columns.map((name, i) => (newer.has(name) ? (newer.get(name) as TupleValue) : this.#tuple[i]))
      : this.#tuple
    return { row: decoder.row(tuple).row, image: keepsImages ? keptImage(decoder, tuple) : null }
  }
}

function rowsOf(table: PostgresTable, { tuples, snapshot }: { tuples: Tuple[]; snapshot: Snapshot }): Rows {
  return { rows: tuples.map((tuple) => new TupleRow(table, tuple)), length: lengthOf(tuples), view: viewOf(snapshot) }
}

/** Returns where the keys of a hash begin. The key of a row without one is its hash in a JSON array. */
const keyFrom = (hash: string): string => `["${hash}`

/** Returns the length in UTF-16 units. */
function lengthOf(tuples: readonly Tuple[]): number {
  let length = 0
  for (const tuple of tuples) for (const text of tuple) length += typeof text === 'string' ? text.length : 4
  return length
}
