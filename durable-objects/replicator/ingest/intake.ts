import { RockpoolError } from '../../../protocol/errors.ts'
import type { RowChange, SourceEvent, SourceTable, StreamedTo, TxId } from '../../../sources/source.ts'
import { faultPoint } from '../../shared/fault-points.ts'
import { Batch } from './batch.ts'
import type { Care, Taking } from './care.ts'
import { Completions, type RowKey } from '../copy/completions.ts'
import type { TouchedKeys } from '../copy/touched-keys.ts'
import { loadRows, ROWS_AHEAD, type Changing } from './preload.ts'
import type { RowImage } from '../store/row-state.ts'
import type { FollowedTable } from './followed-table.ts'
import { SLICE_LENGTH } from '../limits.ts'

// The file is long because gathering, slicing and storing change one batch, and their order is what I6 rests on.

/** Changes of an append that cost about as much as its call. */
const THICK_APPEND = 32

/** Why a batch is stored now. */
export interface Flush {
  batch: Batch
  /** Behind the last whole transaction, and how much of the next one is stored with this. */
  position: StreamedTo['position']
  place: StreamedTo['place']
  incomplete: ReadonlyMap<string, { table: FollowedTable; key: string; pending: boolean }>
}

/** How changes that kill are found and skipped. */
export interface CareOf {
  care: Pick<Care, 'slice' | 'notes' | 'about' | 'trying' | 'waits'>
  /**
   * The change was skipped; an empty key is that of a TRUNCATE. `left`: what the row had put into buckets is still
   * there.
   */
  skipped(table: FollowedTable, key: string, left: boolean): void
}

export interface IntakePorts {
  /** Changes at which a slice is made. */
  sliceChanges: number
  newBatch(): Batch
  store(flush: Flush): void
  /** Whether there are stored rows that lack values, and whether this is one. */
  hasIncomplete(): boolean
  isIncomplete(table: { number: number }, key: string): boolean
  /**
   * Whether what is stored of its rows is what the stream told last, of the columns that it had when this session
   * began.
   */
  hasImages(table: FollowedTable): boolean
  /** Keys of a table in row state, for TRUNCATE: pages in order. */
  keys(table: FollowedTable, after: string, limit: number): string[]
  /**
   * A message of our own: at the place in the stream where its transaction commits, after everything before it. It
   * yields where it may wait for room.
   */
  marker(content: string): Iterable<undefined>
  /** A write checkpoint message, inside its transaction. */
  deliver(batch: Batch, content: string): void
  /** Whether more slices may be stored: what of a message is left waits for `resume`. */
  room(): boolean
  /**
   * Columns that the sync config names do not come any more: what comes is left out, and the table must be compared.
   */
  lacking?(table: FollowedTable): void
  /**
   * The stream describes a table that we do not follow (null), or otherwise than when this session began. What follows
   * waits for room.
   */
  unexpected(table: FollowedTable | null): void
  /** Absent: none is taken. */
  care?: CareOf
}

interface OpenTransaction {
  id: TxId
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
  #incomplete = new Map<string, { table: FollowedTable; key: string; pending: boolean }>()
  #touched: TouchedKeys | null = null
  /** While rows are read. */
  completions: Completions | null = null
  /** The rest of the event that is being taken in, and what came behind it. */
  #steps: Iterator<undefined, void> | null = null
  #queue: [event: SourceEvent, bytes: number][] = []
  /** Changes taken in that were not stored before: what a session gets done. */
  changes = 0
  /** Rows that were read and taken in beside the stream. They are work of the session as changes are. */
  placed = 0

  constructor(tables: readonly FollowedTable[], at: StreamedTo, ports: IntakePorts) {
    this.#followed = new Map(tables.map((table) => [table.source, table]))
    this.#position = at.position
    this.#place = at.place
    this.#ports = ports
  }

  get sliceChanges(): number {
    const { care, sliceChanges } = this.#ports
    return care?.care.slice(sliceChanges) ?? sliceChanges
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

  /** From now on the keys that transactions touch are remembered. Null ends it. */
  remember(keys: TouchedKeys | null): void {
    this.#touched = keys
    this.completions = keys && new Completions()
  }

  event(event: SourceEvent, bytes: number): void {
    if (this.#broken) return
    if (this.#steps) {
      this.#queue.push([event, bytes])
      return
    }
    switch (event.kind) {
      case 'begin':
        this.#tx = { id: event.tx, last: event, begun: false, marks: [] }
        this.#touched?.begin(event.tx)
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

  /** Notes that a row lacks values (`pending`), or no longer does. */
  readonly settle = (table: FollowedTable, key: string, pending: boolean): void => {
    if (!pending && this.#incomplete.size === 0 && !this.#ports.hasIncomplete()) return
    this.#incomplete.set(`${table.number} ${key}`, { table, key, pending })
  };

  *#look(table: FollowedTable | null): Generator<undefined, void> {
    this.#ports.unexpected(table)
    yield
  }

  get #id(): TxId {
    return this.#tx?.id ?? 0n
  }

  #change(change: OpenChange, bytes: number): void {
    const tx = this.#tx
    if (!tx) throw new RockpoolError('ROCKPOOL_INTERNAL', 'the stream sent a change outside of a transaction')
    this.changes++
    this.#open.push(change)
    this.#openBytes += bytes
    if (this.#open.length < this.sliceChanges && this.#openBytes < SLICE_LENGTH) return
    this.#run(this.#slice(tx))
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
    const incomplete = this.#incomplete
    this.#incomplete = new Map()
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
      this.#touch(change)
      if (event.kind === 'truncate') yield* this.#truncate(event.tables, tx)
      else if (event.kind === 'mark') this.#ports.deliver(this.#current(), event.text)
      else if (table && taking !== 'take') this.#skip(change, taking === 'leave')
      else if (table) this.#apply(event, table)
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

  #skip({ table, key, before }: Changing, left: boolean): void {
    const batch = this.#current()
    for (const each of new Set([before ?? key, key])) this.completions?.unknown({ table, key: each }, this.#id)
    if (left) batch.changes++
    else {
      for (const each of new Set([before ?? key, key])) {
        batch.remove(table, each)
        this.settle(table, each, false)
      }
    }
    this.#ports.care?.skipped(table, key, left)
  }

  #apply(change: RowChange, table: FollowedTable): void {
    const { key, before } = change
    faultPoint('change.apply', { at: `${table.name} ${key}` })
    const { counted } = table.source
    const noted = !counted && this.#isNoted(table, key)
    if (noted || (before !== null && before !== key)) this.#note(change, table)
    if (change.op === 'delete') {
      if (counted) this.#current().removeCopy(table, key)
      else this.#current().remove(table, key)
      this.settle(table, key, false)
      return
    }
    const oldKey = before ?? key
    const batch = this.#current()
    const found = change.read(() => this.#kept(change, table, oldKey))
    if (found === null) {
      if (oldKey !== key) {
        batch.remove(table, oldKey)
        this.settle(table, oldKey, false)
      }
      this.settle(table, key, true)
      if (!noted) this.#note(change, table)
      return
    }
    if (counted) {
      if (change.op === 'update' && oldKey === key) return
      if (change.op === 'update') batch.removeCopy(table, oldKey)
      batch.addCopy(table, key, found.row)
      return
    }
    if (oldKey !== key) {
      batch.remove(table, oldKey)
      this.settle(table, oldKey, false)
    }
    batch.upsert(table, key, found.row, found.image)
    this.settle(table, key, false)
  }

  /**
   * What we kept of columns that are still the same. What is kept of a row that lacks values is older than the change
   * which left them out.
   */
  #kept(change: RowChange, table: FollowedTable, key: string): RowImage | null {
    if (change.altered || !this.#ports.hasImages(table) || this.lacks({ table, key })) return null
    return this.#current().state(table, key)?.image ?? null
  }

  #isNoted(table: FollowedTable, key: string): boolean {
    return this.completions !== null && (this.completions.has({ table, key }) || this.lacks({ table, key }))
  }

  /** For whoever reads rows that lack values. */
  #note(change: RowChange, table: FollowedTable): void {
    const { completions } = this
    if (!completions) return
    const { key, before } = change
    const moved = before !== null && before !== key
    const id = this.#id
    if (moved) completions.unknown({ table, key: before }, id)
    if (change.op === 'delete') completions.gone({ table, key }, id)
    else if (moved || change.altered) completions.unknown({ table, key }, id)
    else completions.changed({ table, key }, id, change.sent())
  }

  /** Values of the row were left out, and are not known. */
  lacks({ table, key }: RowKey): boolean {
    const noted = this.#incomplete.get(`${table.number} ${key}`)
    return noted ? noted.pending : this.#ports.isIncomplete(table, key)
  }

  *#truncate(tables: readonly SourceTable[], tx: OpenTransaction): Generator<undefined, void> {
    for (const [i, table] of tables.flatMap((each) => this.#followed.get(each) ?? []).entries()) {
      if ((yield* this.#noted(table, '', tx.begun || i > 0)) !== 'take') {
        this.#current().changes++
        this.#ports.care?.skipped(table, '', true)
        continue
      }
      // Rows that this batch has and storage does not know yet. Afterwards they may be stored, and lie behind what was
      // looked through.
      for (const [key, state] of this.#current().rows.get(table.number)?.states ?? []) if (state) this.#current().remove(table, key)
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

  #touch({ event, table, key, before }: OpenChange): void {
    const touched = this.#touched
    if (!touched) return
    if (event.kind === 'truncate') for (const each of event.tables) touched.touchAll(this.#followed.get(each)?.number ?? 0)
    if (!table) return
    touched.touch(table.number, key, event.op === 'delete' ? -1 : 1)
    if (before !== null) touched.touch(table.number, before, -1)
  }
}
