import { RockpoolError } from '../../../protocol/errors.ts'
import type { RowChange, SourceEvent, SourcePosition, SourceTable, StreamedTo } from '../../../sources/source.ts'
import { faultPoint } from '../../shared/fault-points.ts'
import { Batch } from './batch.ts'
import type { Taking } from './care.ts'
import type { Completions, RowKey } from '../copy/completions.ts'
import type { TouchedKeys } from '../copy/touched-keys.ts'
import { loadRows, ROWS_AHEAD } from './preload.ts'
import type { IntakePorts } from './intake-ports.ts'
import { RowChanges } from './row-changes.ts'
import { PASSED_COST, type Leaving } from './transaction-limit.ts'
import type { FollowedTable } from './followed-table.ts'
import { SLICE_LENGTH } from '../limits.ts'

// The file is long because gathering, slicing and storing change one batch, and their order is what I6 rests on.

/** Changes of an append that cost about as much as its call. */
const THICK_APPEND = 32

interface OpenTransaction {
  begin: Extract<SourceEvent, { kind: 'begin' }>
  /** The last of its events that the batch, or storage, has. */
  last: Pick<Change, 'at'>
  /** The batch may have something of it. */
  begun: boolean
  /** Marks, for when it is committed: a slice in between does not lose them. */
  marks: string[]
}

/** A change that is not in a batch yet. Of a change of a row its table, as we know it. */
type OpenChange =
  | { event: Exclude<Change, RowChange>; table: null; key: ''; before: null }
  | { event: RowChange; table: FollowedTable; key: string; before: string | null }
type Change = Extract<SourceEvent, { kind: 'change' | 'truncate' | 'mark' }>

/**
 * Events of the source in, batches out. Whole transactions are gathered in one batch; of a transaction that is still
 * being delivered at most one slice is held. Everything here is synchronous; an event that means very many ops
 * (TRUNCATE) is done in steps, as there is room.
 */
export class Intake {
  readonly #ports: IntakePorts
  readonly #followed: ReadonlyMap<SourceTable, FollowedTable>
  #position: StreamedTo['position']
  #place: StreamedTo['place']
  #tx: OpenTransaction | null = null
  #open: OpenChange[] = []
  #openBytes = 0
  #batch: Batch | null = null
  /** Something was taken in half: see `#whole`. */
  #broken = false
  readonly #rows: RowChanges
  /** The rest of the event that is being taken in, and what came behind it. */
  #steps: Iterator<undefined, void> | null = null
  #queue: [event: SourceEvent, bytes: number][] = []
  /** Changes taken in that were not stored before: what a session gets done. */
  changes = 0
  /** Transactions that were taken in to their ends. */
  transactions = 0
  /** Rows that were read and taken in beside the stream. They are work of the session as changes are. */
  placed = 0
  /**
   * Changes that came and were no events: what is stored, and tables that are not followed. They are work as well, see
   * `PASSED_COST`.
   */
  passed = 0

  constructor(tables: readonly FollowedTable[], at: StreamedTo, ports: IntakePorts) {
    this.#followed = new Map(tables.map((table) => [table.source, table]))
    this.#position = at.position
    this.#place = at.place
    this.#ports = ports
    this.#rows = new RowChanges({ ...ports, batch: () => this.#current() })
  }

  get sliceChanges(): number {
    const { care, sliceChanges } = this.#ports
    return care?.care.slice(sliceChanges) ?? sliceChanges
  }

  /** What a session has done, in changes that were taken in. */
  get work(): number {
    return this.changes + this.placed + this.passed * PASSED_COST
  }

  /** Changes in memory that are not stored. */
  get held(): number {
    return this.#open.length + this.#queue.length + (this.#batch?.changes ?? 0)
  }

  /** What is in memory and not stored, as a share of a slice. */
  get load(): number {
    const length = this.#openBytes + (this.#batch?.length ?? 0)
    return Math.max(this.held / this.sliceChanges, length / SLICE_LENGTH)
  }

  /** What is gathered would be few changes for each append. */
  get isThin(): boolean {
    const batch = this.#batch
    return batch !== null && batch.appends.size * THICK_APPEND > batch.changes
  }

  /** An event is taken in only in part, because there was no room. */
  get busy(): boolean {
    return this.#steps !== null
  }

  /** There is room again. */
  resume(): void {
    while (this.#steps && !this.#broken && this.#ports.room()) {
      this.#run(this.#steps)
      while (!this.#steps) {
        const next = this.#queue.shift()
        if (!next) return
        this.event(...next)
      }
    }
  }

  /** Goes on until it is done or there is no room. */
  #run(steps: Iterator<undefined, void>): void {
    this.#steps = steps
    if (this.#ports.care?.care.waits) return
    while (!this.#whole(() => steps.next()).done) if (!this.#ports.room()) return
    this.#steps = null
  }

  /**
   * What throws half-way leaves half a transaction in the batch, and what cannot be stored is lacking before all that
   * follows. The session is about to end, but whoever finds room before that would store what there is as if it were
   * whole: so nothing is stored any more.
   */
  #whole<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      this.#broken = true
      this.#batch = null
      throw error
    }
  }

  event(event: SourceEvent, bytes: number): void {
    if (this.#broken) return
    if (this.#steps) {
      this.#queue.push([event, bytes])
      return
    }
    switch (event.kind) {
      case 'begin':
        this.#tx = { begin: event, last: event, begun: false, marks: [] }
        this.#rows.begin(event.tx)
        this.#ports.limit?.begin()
        return
      case 'passed':
        this.#passed(event)
        return
      case 'commit':
        this.#run(this.#commit(event.position))
        return
      case 'unexpected': {
        const table = (event.table && this.#followed.get(event.table)) ?? null
        if (event.lacking && table) this.#ports.lacking?.(table)
        this.#run(this.#look(table))
        return
      }
      case 'change': {
        const table = this.#followed.get(event.table)
        if (table) this.#change({ event, table, key: event.key, before: event.before }, bytes)
        return
      }
      case 'mark':
        this.#tx?.marks.push(event.text)
        this.#change({ event, table: null, key: '', before: null }, bytes)
        return
      case 'truncate':
        this.#change({ event, table: null, key: '', before: null }, bytes)
        return
    }
  }

  /** Stores the whole transactions gathered so far. */
  flush(): void {
    if (this.#batch && !this.#broken) this.#store(null)
  }

  /** No transaction is open, and nothing is half done. */
  get isBetween(): boolean {
    return this.#tx === null && this.#steps === null && !this.#broken
  }

  /** Applies something between two transactions: the rows of a chunk, a plan switch. */
  between(work: (batch: Batch, incomplete: Intake['settle']) => void): void {
    if (this.#tx || this.#broken) throw new Error('a transaction is open')
    this.#whole(() => work(this.#current(), this.settle))
    this.flush()
  }

  get completions(): Completions | null {
    return this.#rows.completions
  }

  /** From now on the keys that transactions touch are remembered. Null ends it. */
  remember(keys: TouchedKeys | null): void {
    this.#rows.remember(keys)
  }

  /** Notes that a row lacks values (`pending`), or no longer does. */
  readonly settle = (table: FollowedTable, key: string, pending: boolean): void =>
    this.#rows.settle(table, key, pending)

  /** Values of the row were left out, and are not known. */
  lacks(row: RowKey): boolean {
    return this.#rows.lacks(row)
  }

  /**
   * The session ends: what it has of a large transaction is a slice, however small. Without that a session that does
   * less than a slice would never come further.
   */
  cut(): void {
    const tx = this.#tx
    if (tx && this.#steps === null && !this.#broken && this.#open.length > 0) this.#run(this.#slice(tx))
  }

  *#look(table: FollowedTable | null): Generator<undefined, void> {
    this.#ports.unexpected(table)
    yield
  }

  #passed(event: Extract<SourceEvent, { kind: 'passed' }>): void {
    this.passed++
    const why = this.#ports.limit?.passed(event.whole, () => this.flush())
    if (why) this.#leave(why, event.whole, event.beyond)
  }

  #change(change: OpenChange, bytes: number): void {
    const tx = this.#tx
    if (!tx) throw new RockpoolError('ROCKPOOL_INTERNAL', 'the stream sent a change outside of a transaction')
    const { limit } = this.#ports
    const why = limit?.taken()
    if (why) return this.#leave(why, false, tx.begin.beyond)
    this.changes++
    if (limit?.waits) this.#run(this.#later(change, bytes, tx))
    else if (this.#opened(change, bytes)) this.#run(this.#slice(tx))
  }

  /** When there is room. */
  *#later(change: OpenChange, bytes: number, tx: OpenTransaction): Generator<undefined, void> {
    yield
    if (this.#opened(change, bytes)) yield* this.#slice(tx)
  }

  /** Whether that makes a slice. */
  #opened(change: OpenChange, bytes: number): boolean {
    this.#open.push(change)
    this.#openBytes += bytes
    return this.#open.length >= this.sliceChanges || this.#openBytes >= SLICE_LENGTH
  }

  /**
   * The rest of the transaction is not read. What is whole is stored first; what is stored of this one already stays,
   * and nothing is taken in any more.
   */
  #leave(why: Leaving, whole: boolean, position: SourcePosition): void {
    this.flush()
    this.#broken = true
    this.#open = []
    this.#ports.left?.({ why, whole, position, batch: this.#ports.newBatch() })
  }

  /**
   * The transaction is larger than a slice. What is whole goes first, so that it need not wait for the rest of this
   * one.
   */
  *#slice(tx: OpenTransaction): Generator<undefined, void> {
    this.flush()
    yield* this.#process(tx)
    if (this.#batch) this.#store(tx.last.at)
  }

  *#commit(position: NonNullable<StreamedTo['position']>): Generator<undefined, void> {
    const tx = this.#tx
    if (!tx) throw new RockpoolError('ROCKPOOL_INTERNAL', 'the stream sent a commit outside of a transaction')
    yield* this.#process(tx)
    this.#current()
    this.#tx = null
    this.#place = null
    this.#position = position
    this.transactions++
    if (this.#full()) this.flush()
    for (const text of tx.marks) yield* this.#ports.marker(text)
  }

  #full(): boolean {
    const batch = this.#batch
    const noted = (this.#ports.care?.care.trying ?? null) !== null
    return batch !== null && (noted || batch.changes >= this.sliceChanges || batch.length >= SLICE_LENGTH)
  }

  #current(): Batch {
    return (this.#batch ??= this.#ports.newBatch())
  }

  #store(place: StreamedTo['place']): void {
    const batch = this.#batch
    if (!batch) return
    this.#batch = null
    const incomplete = this.#rows.takeIncomplete()
    this.#whole(() => {
      if (place) {
        faultPoint('stream.slice')
        this.#place = place
      }
      this.#ports.store({ batch, position: this.#position, place: this.#place, incomplete })
    })
  }

  /** Yields behind every slice: then nothing is held but the rest of the events. */
  *#process(tx: OpenTransaction): Generator<undefined, void> {
    const open = this.#open
    this.#open = []
    this.#openBytes = 0
    // What was asked for belongs to one batch.
    let loaded: Batch | null | undefined
    let loadedTo = 0
    for (const [i, change] of open.entries()) {
      const { event, table } = change
      const taking = table ? yield* this.#noted(table, change.key, tx.begun) : 'take'
      if (this.#batch !== loaded || i === loadedTo) {
        loadedTo = i + Math.min(ROWS_AHEAD, this.sliceChanges)
        loadRows(
          open.slice(i, loadedTo).filter((each) => each.table !== null),
          () => this.#current(),
        )
        loaded = this.#batch
      }
      if (table) this.#rows.touch(change, event.op)
      if (event.kind === 'truncate') yield* this.#truncate(event.tables, tx)
      else if (event.kind === 'mark') this.#ports.deliver(this.#current(), event.text)
      else if (table && taking !== 'take') {
        this.#rows.skip(change, taking === 'leave')
        this.#ports.care?.skipped(table, change.key, taking === 'leave')
      } else if (table) this.#rows.apply(event, table)
      tx.last = event
      tx.begun = true
      // Changes that became very many ops, or very large ones. The rest of `open` follows in the next slice.
      if (!this.#full() || i === open.length - 1) continue
      this.#store(tx.last.at)
      yield
    }
  }

  /** A change that may kill is the only one in its batch. `begun`: the batch may have something of its transaction. */
  *#noted(table: FollowedTable, key: string, begun: boolean): Generator<undefined, Taking> {
    const care = this.#ports.care?.care
    if (!care?.notes(table, key)) return 'take'
    const tx = this.#tx
    if (tx && begun && this.#batch) this.#store(tx.last.at)
    else this.flush()
    return yield* care.about(table, key)
  }

  *#truncate(of: readonly SourceTable[], tx: OpenTransaction): Generator<undefined, void> {
    const tables = of.flatMap((each) => this.#followed.get(each) ?? [])
    for (const table of tables) this.#rows.touchAll(table)
    for (const [i, table] of tables.entries()) {
      if ((yield* this.#noted(table, '', tx.begun || i > 0)) !== 'take') {
        this.#current().changes++
        this.#ports.care?.skipped(table, '', true)
        continue
      }
      // Rows that this batch has and storage does not know yet. Afterwards they may be stored, and lie behind what was
      // looked through.
      for (const [key, state] of this.#current().rows.get(table.number)?.states ?? [])
        if (state) this.#current().remove(table, key)
      for (let after = ''; ;) {
        const keys = this.#ports.keys(table, after, 1_000)
        this.#current().load(table, keys)
        for (const key of keys) this.#current().remove(table, key)
        const last = keys.at(-1)
        if (last === undefined) break
        after = last
        // A slice in the middle of the TRUNCATE: it is not counted as done, so after a crash it removes what is left.
        if (!this.#full()) continue
        this.#store(tx.last.at)
        yield
      }
    }
  }
}
