import { RockpoolError } from '../../../protocol/errors.ts'
import { formatLsn, parseLsn, TouchedKeys, widenXid, type PgoutputMessage } from '../../../sources/postgres/index.ts'
import { faultPoint } from '../../shared/fault-points.ts'
import { Batch } from './batch.ts'
import type { Care, Taking } from './care.ts'
import { Completions, type RowKey } from '../copy/completions.ts'
import { FollowedTables } from './followed-tables.ts'
import { imageOf, keptImage } from './image.ts'
import { changedRow, loadRows, ROWS_AHEAD, type ChangedRow } from './changed-row.ts'
import type { RowImage } from '../store/row-state.ts'
import type { PartialTransaction, Position } from '../store/storage.ts'
import type { SourceTable } from './source-table.ts'
import { SLICE_LENGTH } from '../limits.ts'

/** Changes of an append that cost about as much as its call. */
const THICK_APPEND = 32

/** Why a batch is stored now. */
export interface Flush {
  batch: Batch
  /** The last whole transaction behind it. */
  position: Position | null
  partial: PartialTransaction | null
  incomplete: ReadonlyMap<string, { table: SourceTable; key: string; pending: boolean }>
}

/** How changes that kill are found and skipped. */
export interface CareOf {
  care: Pick<Care, 'slice' | 'notes' | 'about' | 'trying' | 'waits'>
  /** The change was skipped; an empty key is that of a TRUNCATE. `left`: what the row had put into buckets is still there. */
  skipped(table: SourceTable, key: string, left: boolean): void
}

export interface IntakePorts {
  /** Changes at which a slice is made. */
  sliceChanges: number
  newBatch(): Batch
  store(flush: Flush): void
  /** Whether there are stored rows that lack values, and whether this is one. */
  hasIncomplete(): boolean
  isIncomplete(table: { number: number }, key: string): boolean
  /** Whether what is stored of its rows is what the stream told last, of the columns that it had when this session began. */
  hasImages(table: SourceTable): boolean
  /** Keys of a table in row state, for TRUNCATE: pages in order. */
  keys(table: SourceTable, after: string, limit: number): string[]
  /** A message of our own: at the place in the stream where its transaction commits, after everything before it. It yields where it may wait for room. */
  marker(content: string): Iterable<undefined>
  /** A write checkpoint message, inside its transaction. */
  deliver(batch: Batch, content: string): void
  /** Whether more slices may be stored: what of a message is left waits for `resume`. */
  room(): boolean
  /** Columns that the sync config names do not come any more: what comes is left out, and the table must be compared. */
  lacking?(table: SourceTable): void
  /** The stream describes a table that we do not follow, or otherwise than the catalog did when this session began. What follows waits for room. */
  unexpected(oid: number): void
  /** Absent: none is taken. */
  care?: CareOf
}

interface OpenTransaction extends Position {
  skip: boolean
  /** Changes delivered, and how many of the first ones are stored already. */
  seen: number
  stored: number
  /** Messages of ours, for when it is committed: a slice in between does not lose them. */
  markers: string[]
}

type RowMessage = Extract<PgoutputMessage, { type: 'insert' | 'update' | 'delete' | 'truncate' | 'message' }>

/**
 * Messages of the stream in, batches out. Whole transactions are gathered in one batch; of a transaction that is still being delivered at
 * most one slice is held. Everything here is synchronous; a message that means very many ops (TRUNCATE) is done in steps, as there is room.
 */
export class Intake {
  readonly #ports: IntakePorts
  readonly #followed: FollowedTables
  readonly #prefix: string
  #position: Position | null
  #partial: PartialTransaction | null
  /** Whether the stored transaction has come again: this is the database we know. */
  #proved: boolean
  #tx: OpenTransaction | null = null
  /** A row as the stream described its table when it came: a later statement of the transaction may describe it otherwise. */
  #open: { m: RowMessage; row: ChangedRow | null }[] = []
  #openBytes = 0
  #batch: Batch | null = null
  /** Something was taken in half: see `#whole`. */
  #broken = false
  #incomplete = new Map<string, { table: SourceTable; key: string; pending: boolean }>()
  #touched: { keys: TouchedKeys; reference: bigint } | null = null
  /** While rows are read. */
  completions: Completions | null = null
  /** The rest of the message that is being taken in, and what came behind it. */
  #steps: Iterator<undefined, void> | null = null
  #queue: [message: PgoutputMessage, bytes: number][] = []
  /** Row messages taken in that were not stored before: what a session gets done. */
  changes = 0
  /** Rows that were read and taken in beside the stream. They are work of the session as changes are. */
  placed = 0

  constructor(
    tables: ReadonlyMap<number, SourceTable>,
    prefix: string,
    at: { position: Position | null; partial: PartialTransaction | null },
    ports: IntakePorts,
  ) {
    this.#followed = new FollowedTables(tables)
    this.#prefix = prefix
    this.#position = at.position
    this.#partial = at.partial
    this.#proved = at.position === null
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

  /** A message is taken in only in part, because there was no room. */
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
        this.message(...next)
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
   * What throws half-way leaves half a transaction in the batch, and what cannot be stored is lacking before all that follows. The session is about to end, but
   * whoever finds room before that would store what there is as if it were whole: so nothing is stored any more.
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

  /** From now on the keys that transactions touch are remembered; `reference` is the xmax of a recent snapshot. Null ends it. */
  remember(keys: TouchedKeys | null, reference: bigint): void {
    this.#touched = keys && { keys, reference }
    this.completions = keys && new Completions()
  }

  message(m: PgoutputMessage, bytes: number): void {
    if (this.#broken) return
    if (this.#steps) {
      this.#queue.push([m, bytes])
      return
    }
    switch (m.type) {
      case 'begin':
        this.#begin(m)
        return
      case 'commit':
        this.#run(this.#commit())
        return
      case 'relation':
        if (this.#followed.describe(m)) return
        if (this.#followed.isLacking(m.oid)) {
          const table = this.#followed.table(m.oid)
          if (table) this.#ports.lacking?.(table)
        }
        this.#run(this.#look(m.oid))
        return
      case 'message':
        if (!m.transactional || m.prefix !== this.#prefix) return
        this.#change(m, bytes)
        return
      case 'insert':
      case 'update':
      case 'delete':
      case 'truncate':
        this.#change(m, bytes)
        return
      default:
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
  readonly settle = (table: SourceTable, key: string, pending: boolean): void => {
    if (!pending && this.#incomplete.size === 0 && !this.#ports.hasIncomplete()) return
    this.#incomplete.set(`${table.number} ${key}`, { table, key, pending })
  };

  *#look(oid: number): Generator<undefined, void> {
    this.#ports.unexpected(oid)
    yield
  }

  #begin(m: Extract<PgoutputMessage, { type: 'begin' }>): void {
    const stored = this.#position
    const lsn = formatLsn(m.finalLsn)
    this.#tx = { lsn, xid: m.xid, time: m.commitTime, skip: false, seen: 0, stored: 0, markers: [] }
    if (stored && m.finalLsn <= parseLsn(stored.lsn)) {
      if (lsn === stored.lsn) {
        if (m.xid !== stored.xid || m.commitTime !== stored.time)
          throw sourceChanged(`the transaction at ${lsn} is not the one that was stored`)
        this.#proved = true
      }
      this.#tx.skip = true
      return
    }
    // What is acknowledged is the start of the stored transaction's commit record, so Postgres sends it again before anything newer.
    if (!this.#proved) throw sourceChanged(`the transaction at ${stored?.lsn ?? '0/0'} did not come again`)
    const partial = this.#partial
    if (partial) {
      const same = partial.lsn === lsn && partial.xid === m.xid && (partial.time === undefined || partial.time === m.commitTime)
      if (!same) throw sourceChanged(`the rest of the transaction at ${partial.lsn} did not come`)
      this.#tx.stored = partial.changes
    }
    this.#touched?.keys.begin(this.#xid)
  }

  /** Of the transaction that is open, while keys are remembered. */
  get #xid(): bigint {
    return widenXid(this.#tx?.xid ?? 0, this.#touched?.reference ?? 0n)
  }

  #change(m: RowMessage, bytes: number): void {
    const tx = this.#tx
    if (!tx) throw new RockpoolError('ROCKPOOL_INTERNAL', 'the stream sent a change outside of a transaction')
    if (tx.skip) return
    tx.seen++
    if (tx.seen <= tx.stored) {
      this.#touch(m, this.#touched && changedRow(m, this.#followed))
      return
    }
    this.changes++
    if (m.type === 'message') tx.markers.push(new TextDecoder().decode(m.content))
    this.#open.push({ m, row: changedRow(m, this.#followed) })
    this.#openBytes += bytes
    if (this.#open.length < this.sliceChanges && this.#openBytes < SLICE_LENGTH) return
    this.#run(this.#slice(tx))
  }

  /** The transaction is larger than a slice. What is whole goes first, so that it need not wait for the rest of this one. */
  *#slice(tx: OpenTransaction): Generator<undefined, void> {
    this.flush()
    yield* this.#process()
    if (this.#batch) this.#store({ lsn: tx.lsn, xid: tx.xid, time: tx.time, changes: tx.seen })
  }

  *#commit(): Generator<undefined, void> {
    const tx = this.#tx
    if (!tx) throw new RockpoolError('ROCKPOOL_INTERNAL', 'the stream sent a commit outside of a transaction')
    if (tx.skip) {
      this.#tx = null
      return
    }
    yield* this.#process()
    this.#current()
    this.#tx = null
    this.#partial = null
    this.#position = { lsn: tx.lsn, xid: tx.xid, time: tx.time }
    if (this.#full()) this.flush()
    for (const content of tx.markers) yield* this.#ports.marker(content)
  }

  #full(): boolean {
    const batch = this.#batch
    const noted = (this.#ports.care?.care.trying ?? null) !== null
    return batch !== null && (noted || batch.changes >= this.sliceChanges || batch.length >= SLICE_LENGTH)
  }

  #current(): Batch {
    return (this.#batch ??= this.#ports.newBatch())
  }

  #store(partial: PartialTransaction | null): void {
    const batch = this.#batch
    if (!batch) return
    this.#batch = null
    const incomplete = this.#incomplete
    this.#incomplete = new Map()
    this.#whole(() => {
      if (partial) {
        faultPoint('stream.slice')
        this.#partial = partial
      }
      this.#ports.store({ batch, position: this.#position, partial: this.#partial, incomplete })
    })
  }

  /** Yields behind every slice: then nothing is held but the rest of the messages. */
  *#process(): Generator<undefined, void> {
    const tx = this.#tx
    const open = this.#open
    this.#open = []
    this.#openBytes = 0
    let done = (tx?.seen ?? 0) - open.length
    // What was asked for belongs to one batch.
    let loaded: Batch | null | undefined
    let loadedTo = 0
    for (const [i, { m, row }] of open.entries()) {
      const taking = row ? yield* this.#noted(row.table, row.key, done) : 'take'
      if (this.#batch !== loaded || i === loadedTo) {
        loadedTo = i + Math.min(ROWS_AHEAD, this.sliceChanges)
        loadRows(open.slice(i, loadedTo), () => this.#current())
        loaded = this.#batch
      }
      this.#touch(m, row)
      if (m.type === 'truncate') yield* this.#truncate(m.oids, done)
      else if (m.type === 'message') this.#ports.deliver(this.#current(), new TextDecoder().decode(m.content))
      else if (row && taking !== 'take') this.#skip(row, taking === 'leave')
      else if (row) this.#apply(row)
      done++
      // Changes that became very many ops, or very large ones. The rest of `open` follows in the next slice.
      if (!this.#full() || !tx || done >= tx.seen) continue
      this.#store({ lsn: tx.lsn, xid: tx.xid, time: tx.time, changes: done })
      yield
    }
  }

  /** A change that may kill is the only one in its batch. `done`: changes of the transaction before it. `begun`: the batch may have something of it. */
  *#noted(table: SourceTable, key: string, done: number, begun = done > 0): Generator<undefined, Taking> {
    const care = this.#ports.care?.care
    if (!care?.notes(table, key)) return 'take'
    const tx = this.#tx
    if (tx && begun && this.#batch) this.#store({ lsn: tx.lsn, xid: tx.xid, time: tx.time, changes: done })
    else this.flush()
    return yield* care.about(table, key)
  }

  #skip({ table, key, before }: ChangedRow, left: boolean): void {
    const batch = this.#current()
    for (const each of new Set([before ?? key, key])) this.completions?.unknown({ table, key: each }, this.#xid)
    if (left) batch.changes++
    else {
      for (const each of new Set([before ?? key, key])) {
        batch.remove(table, each)
        this.settle(table, each, false)
      }
    }
    this.#ports.care?.skipped(table, key, left)
  }

  #apply({ m, table, decoder, key, before }: ChangedRow): void {
    faultPoint('change.apply', { at: `${table.name} ${key}` })
    const keyless = table.catalog.key.length === 0
    const noted = !keyless && this.#isNoted(table, key)
    if (noted || (before !== null && before !== key)) this.#note({ m, table, decoder, key, before })
    if (m.type === 'delete') {
      if (keyless) this.#current().removeCopy(table, key)
      else this.#current().remove(table, key)
      this.settle(table, key, false)
      return
    }
    const oldKey = before ?? key
    const { row, missing } = decoder.row(m.new)
    const batch = this.#current()
    const found: RowImage = {}
    if (missing.length > 0) {
      // The texts that Postgres left out: from the old row when it sent one, else from what we kept of columns that are still the same. What is kept
      // of a row that lacks values is older than the change which left them out.
      const kept = !this.#followed.isAltered(table.catalog.oid) && this.#ports.hasImages(table) && !this.lacks({ table, key: oldKey })
      const old = m.type === 'update' && m.old ? imageOf(decoder, m.old) : (kept && batch.state(table, oldKey)?.image) || {}
      for (const name of missing) {
        const text = old[name]
        if (text === undefined) {
          if (oldKey !== key) {
            batch.remove(table, oldKey)
            this.settle(table, oldKey, false)
          }
          this.settle(table, key, true)
          if (!noted) this.#note({ m, table, decoder, key, before })
          return
        }
        found[name] = text
      }
      Object.assign(row, decoder.values(found))
    }
    if (keyless) {
      if (m.type === 'update' && oldKey === key) return
      if (m.type === 'update') batch.removeCopy(table, oldKey)
      batch.addCopy(table, key, row)
      return
    }
    if (oldKey !== key) {
      batch.remove(table, oldKey)
      this.settle(table, oldKey, false)
    }
    // Under identity FULL the old row comes along with every change.
    batch.upsert(table, key, row, table.catalog.identity === 'f' ? null : keptImage(decoder, m.new, found))
    this.settle(table, key, false)
  }

  #isNoted(table: SourceTable, key: string): boolean {
    return this.completions !== null && (this.completions.has({ table, key }) || this.lacks({ table, key }))
  }

  /** For whoever reads rows that lack values. */
  #note({ m, table, decoder, key, before }: ChangedRow): void {
    const moved = before !== null && before !== key
    const xid = this.#xid
    if (moved) this.completions?.unknown({ table, key: before }, xid)
    if (m.type === 'delete') this.completions?.gone({ table, key }, xid)
    else if (moved || this.#followed.isAltered(table.catalog.oid)) this.completions?.unknown({ table, key }, xid)
    else this.completions?.changed({ table, key }, xid, decoder, m.new)
  }

  /** Values of the row were left out, and are not known. */
  lacks({ table, key }: RowKey): boolean {
    const noted = this.#incomplete.get(`${table.number} ${key}`)
    return noted ? noted.pending : this.#ports.isIncomplete(table, key)
  }

  /** `done`: changes of the transaction before it. */
  *#truncate(oids: readonly number[], done: number): Generator<undefined, void> {
    const tx = this.#tx
    for (const [i, table] of oids.flatMap((oid) => this.#followed.table(oid) ?? []).entries()) {
      if ((yield* this.#noted(table, '', done, done + i > 0)) !== 'take') {
        this.#current().changes++
        this.#ports.care?.skipped(table, '', true)
        continue
      }
      // Rows that this batch has and storage does not know yet. Afterwards they may be stored, and lie behind what was looked through.
      for (const [key, state] of this.#current().rows.get(table.number)?.states ?? []) if (state) this.#current().remove(table, key)
      for (let after = ''; ;) {
        const keys = this.#ports.keys(table, after, 1_000)
        this.#current().load(table, keys)
        for (const key of keys) this.#current().remove(table, key)
        const last = keys.at(-1)
        if (last === undefined) break
        after = last
        // A slice in the middle of the TRUNCATE: it is not counted as done, so after a crash it removes what is left.
        if (!tx || !this.#full()) continue
        this.#store({ lsn: tx.lsn, xid: tx.xid, time: tx.time, changes: done })
        yield
      }
    }
  }

  #touch(m: RowMessage, row: ChangedRow | null): void {
    const touched = this.#touched?.keys
    if (!touched) return
    if (m.type === 'truncate') for (const oid of m.oids) touched.touchAll(oid)
    if (!row) return
    const { oid } = row.table.catalog
    touched.touch(oid, row.key, row.m.type === 'delete' ? -1 : 1)
    if (row.before !== null) touched.touch(oid, row.before, -1)
  }
}

const sourceChanged = (what: string) =>
  new RockpoolError('ROCKPOOL_SOURCE_CHANGED', `this is not the database, or not the state of it, that was followed so far: ${what}`)
