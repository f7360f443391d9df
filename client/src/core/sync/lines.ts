import type { BucketEntry, BucketReason, StreamEntry, SyncLine } from '../../../../protocol/lines.ts'
import type { ComparingLine } from '../../../../protocol/native.ts'
import { integer, text, type Sqlite } from '../../sqlite/sqlite.ts'
import type { SyncProgress } from '../../types.ts'
import type { LineEvents } from '../downloading.ts'
import { ProblemError } from '../problem.ts'
import { Incoming, type Target } from '../store/incoming.ts'
import type { StoredTable } from '../store/tables.ts'
import { markSynced, type Subscription } from './streams.ts'

/** How a stream is doing in this connection. */
export interface StreamStatus {
  name: string
  /** Null: it is one of those that everybody has. */
  subscription: number | null
  /** The server knows a stream of this name. */
  active: boolean
  /** What the server could not evaluate; the connection goes on without it. */
  errors: string[]
  /** Everything of it is shown. */
  synced: boolean
  progress: SyncProgress
}

export interface LinesEvents extends Omit<LineEvents, 'complete'> {
  changed(tables: ReadonlySet<string>): void
  /** Everything of these priorities is shown; null: a whole checkpoint is applied. */
  complete(priority: number | null): void
  mismatch(bucket: string): void
  /** `streams()` may answer something else from now on. */
  streams(): void
}

export interface LinesOptions {
  db: Sqlite
  tables: ReadonlyMap<string, StoredTable>
  /** As the request of this connection has them. */
  subscriptions: readonly Subscription[]
  events: LinesEvents
  /** Milliseconds since 1970. */
  now(): number
}

interface Expected {
  received: number
  total: number
}

/** The lines of one connection, in order. The caller has the turn. */
export class Lines {
  readonly #with: LinesOptions
  readonly #incoming: Incoming
  #target: Target | null = null
  #reasons = new Map<string, readonly BucketReason[]>()
  #entries: readonly StreamEntry[] = []
  /** Ops of the announced checkpoint, by bucket. */
  readonly #expected = new Map<string, Expected>()
  #downloaded = 0
  #total = 0
  #comparing: number | null = null
  /** Priorities up to it are shown of the announced checkpoint; null: none, Infinity: all. */
  #shown: number | null = null

  constructor(options: LinesOptions) {
    this.#with = options
    this.#incoming = new Incoming(options.db, options.tables)
  }

  /** Throws ProblemError `checksum` and `protocol`: then the connection begins anew. */
  line(line: SyncLine | ComparingLine): void {
    const { events } = this.#with
    if ('data' in line) this.#data(line.data)
    else if ('checkpoint' in line) {
      const { last_op_id, write_checkpoint, buckets, streams } = line.checkpoint
      this.#entries = streams ?? []
      this.#reasons = new Map()
      this.#announce(
        { lastOp: Number(last_op_id), writeCheckpoint: write_checkpoint ?? null, buckets: new Map() },
        buckets,
        true,
      )
      events.comparing(this.#comparing)
    } else if ('checkpoint_diff' in line) {
      const { last_op_id, write_checkpoint, updated_buckets, removed_buckets } = line.checkpoint_diff
      const buckets = new Map(this.#announced().buckets)
      for (const bucket of removed_buckets) buckets.delete(bucket)
      this.#announce(
        { lastOp: Number(last_op_id), writeCheckpoint: write_checkpoint ?? null, buckets },
        updated_buckets,
        removed_buckets.length > 0,
      )
    } else if ('partial_checkpoint_complete' in line) this.#apply(line.partial_checkpoint_complete.priority)
    else if ('checkpoint_complete' in line) this.#apply(null)
    else if ('token_expires_in' in line) events.expires(line.token_expires_in)
    else if ('comparing' in line) events.comparing((this.#comparing = line.comparing))
  }

  #data({ bucket, data }: Extract<SyncLine, { data: object }>['data']): void {
    // What it takes in memory: texts of JavaScript, and the objects around them.
    const bytes = data.reduce((sum, op) => sum + ('data' in op && op.data !== null ? op.data.length : 0) + 100, 0)
    this.#incoming.receive(bucket, data, bytes)
    const expected = this.#expected.get(bucket) ?? { received: 0, total: 0 }
    this.#count(expected, -1)
    expected.received += data.length
    this.#count(expected, 1)
    this.#expected.set(bucket, expected)
    this.#tell()
  }

  #announced(): Target {
    if (!this.#target) throw new ProblemError('protocol', 'the server sent a line before its first checkpoint')
    return this.#target
  }

  #announce(
    target: { lastOp: number; writeCheckpoint: string | null; buckets: Map<string, BucketEntryPart> },
    entries: readonly BucketEntry[],
    removes: boolean,
  ): void {
    for (const entry of entries) {
      target.buckets.set(entry.bucket, entry)
      this.#reasons.set(entry.bucket, entry.subscriptions ?? [])
    }
    for (const bucket of this.#reasons.keys()) if (!target.buckets.has(bucket)) this.#reasons.delete(bucket)
    this.#target = target
    this.#shown = null
    if (removes) this.#incoming.keep(target)
    this.#expect(entries)
    this.#with.events.begins()
    this.#tell()
  }

  #apply(priority: number | null): void {
    const { db, events, now } = this.#with
    const target = this.#announced()
    const applied = this.#incoming.complete(target, priority, now())
    if (!applied.ok) {
      for (const bucket of applied.mismatches) events.mismatch(bucket)
      throw new ProblemError('checksum', `${applied.mismatches.length} buckets do not add up and are downloaded again`)
    }
    this.#shown = priority ?? Infinity
    const synced = this.streams().flatMap(({ synced, subscription }) =>
      synced && subscription !== null ? [subscription] : [],
    )
    markSynced(db, synced, now())
    if (applied.changed.size > 0) events.changed(applied.changed)
    events.complete(priority)
    events.streams()
  }

  /**
   * What the announced buckets hold and we do not: an estimate, because ops may have been compacted away. `ops` of a
   * bucket is what the server counted when it was applied, and what has come since; a first download that was cut short
   * goes on where it stood.
   */
  #expect(entries: readonly BucketEntry[]): void {
    const rows = this.#with.db.prepare('SELECT name, applied_op, ops FROM rp_buckets WHERE name IS NOT NULL').all()
    const known = new Map(
      rows.map(([name, applied, ops]) => [text(name), { isFirst: applied === 0, ops: integer(ops) }]),
    )
    this.#expected.clear()
    this.#downloaded = 0
    this.#total = 0
    for (const { bucket, count } of entries) {
      const row = known.get(bucket)
      const here = Math.min(count, (row?.ops ?? 0) + this.#incoming.inMemory(bucket))
      const isFirst = row?.isFirst ?? true
      const expected = isFirst ? { received: here, total: count } : { received: 0, total: count - here }
      this.#count(expected, 1)
      this.#expected.set(bucket, expected)
    }
  }

  #count({ received, total }: Expected, sign: 1 | -1): void {
    this.#downloaded += sign * received
    this.#total += sign * Math.max(total, received)
  }

  #tell(): void {
    this.#with.events.progress(progressOf(this.#downloaded, this.#total))
    this.#with.events.streams()
  }

  /** Those that everybody has, and those of the request in its order. */
  streams(): StreamStatus[] {
    const defaults = this.#entries.flatMap((entry, n) =>
      entry.is_default ? [this.#status(entry.name, null, entry, { default: n })] : [],
    )
    const own = this.#with.subscriptions.map(({ id, name }, n) =>
      this.#status(
        name,
        { id, place: n },
        this.#entries.find((entry) => entry.name === name),
        { sub: n },
      ),
    )
    return [...defaults, ...own]
  }

  #status(
    name: string,
    of: { id: number; place: number } | null,
    entry: StreamEntry | undefined,
    reason: BucketReason,
  ): StreamStatus {
    const wanted = JSON.stringify(reason)
    const buckets = [...this.#reasons]
      .filter(([, reasons]) => reasons.some((each) => JSON.stringify(each) === wanted))
      .map(([bucket]) => bucket)
    const errors = (entry?.errors ?? [])
      .filter(({ subscription }) => subscription === (of?.place ?? 'default'))
      .map(({ message }) => message)
    const shown = this.#shown ?? -1
    // Of a stream without buckets only a whole checkpoint says that there is nothing.
    const isShown =
      buckets.length === 0
        ? shown === Infinity
        : buckets.every((bucket) => (this.#target?.buckets.get(bucket)?.priority ?? Infinity) <= shown)
    return {
      name,
      subscription: of?.id ?? null,
      active: entry !== undefined,
      errors,
      synced: entry !== undefined && errors.length === 0 && isShown,
      progress: this.#progressOf(buckets),
    }
  }

  #progressOf(buckets: readonly string[]): SyncProgress {
    const parts = buckets.flatMap((bucket) => this.#expected.get(bucket) ?? [])
    const downloaded = parts.reduce((sum, { received }) => sum + received, 0)
    return progressOf(
      downloaded,
      parts.reduce((sum, { received, total }) => sum + Math.max(total, received), 0),
    )
  }
}

const progressOf = (downloaded: number, total: number): SyncProgress => ({
  downloaded,
  total,
  fraction: total === 0 ? 0 : downloaded / total,
})

type BucketEntryPart = Pick<BucketEntry, 'checksum' | 'priority' | 'count'>
