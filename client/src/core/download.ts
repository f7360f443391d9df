import type { BucketEntry, SyncLine } from '../../../protocol/lines.ts'
import type { ComparingLine } from '../../../protocol/native.ts'
import type { Schema, SyncOptions } from '../types.ts'
import { applyCheckpoint, keepBuckets, positions, receive, type Target } from './buckets.ts'
import type { LineEvents, Stream } from './downloading.ts'
import { ProblemError } from './problem.ts'
import { integer, type Sqlite } from './sqlite.ts'
import { clientId } from './storage.ts'

export interface DownloadEvents extends LineEvents {
  changed(tables: ReadonlySet<string>): void
  mismatch(bucket: string): void
}

/** A connection: what it asks with, and what its lines do. The caller has the turn. */
export function openDownload(
  db: Sqlite,
  options: Pick<SyncOptions, 'schema' | 'parameters'>,
  events: DownloadEvents,
): Stream {
  const download = new Download(db, options.schema, events)
  const request = {
    buckets: positions(db),
    client_id: clientId(db),
    parameters: options.parameters ?? {},
    raw_data: true,
    include_checksum: true,
  }
  return { request, line: (line) => download.line(line) }
}

/** The lines of one connection, in order. */
export class Download {
  readonly #db: Sqlite
  readonly #schema: Schema
  readonly #events: DownloadEvents
  #target: Target | null = null
  #received = 0
  #total = 0
  #comparing: number | null = null

  constructor(db: Sqlite, schema: Schema, events: DownloadEvents) {
    this.#db = db
    this.#schema = schema
    this.#events = events
  }

  /** Throws ProblemError `checksum` and `protocol`: then the connection begins anew. */
  line(line: SyncLine | ComparingLine): void {
    if ('data' in line) {
      this.#received += receive(this.#db, line.data.bucket, line.data.data)
      this.#tell()
    } else if ('checkpoint' in line) {
      const { last_op_id, write_checkpoint, buckets } = line.checkpoint
      this.#target = {
        lastOp: Number(last_op_id),
        writeCheckpoint: write_checkpoint ?? null,
        buckets: new Map(buckets.map((entry) => [entry.bucket, entry])),
      }
      keepBuckets(this.#db, this.#target)
      this.#events.comparing(this.#comparing)
      this.#expect(buckets)
    } else if ('checkpoint_diff' in line) {
      const { last_op_id, write_checkpoint, updated_buckets, removed_buckets } = line.checkpoint_diff
      const buckets = new Map(this.#announced().buckets)
      for (const bucket of removed_buckets) buckets.delete(bucket)
      for (const entry of updated_buckets) buckets.set(entry.bucket, entry)
      this.#target = { lastOp: Number(last_op_id), writeCheckpoint: write_checkpoint ?? null, buckets }
      if (removed_buckets.length > 0) keepBuckets(this.#db, this.#target)
      this.#expect(updated_buckets)
    } else if ('partial_checkpoint_complete' in line) this.#apply(line.partial_checkpoint_complete.priority)
    else if ('checkpoint_complete' in line) {
      this.#apply(null)
      this.#events.complete()
    } else if ('token_expires_in' in line) this.#events.expires(line.token_expires_in)
    else if ('comparing' in line) this.#events.comparing((this.#comparing = line.comparing))
  }

  #announced(): Target {
    if (!this.#target) throw new ProblemError('protocol', 'the server sent a line before its first checkpoint')
    return this.#target
  }

  #apply(priority: number | null): void {
    const applied = applyCheckpoint(this.#db, this.#schema, this.#announced(), priority)
    if (applied.ok) {
      if (applied.changed.size > 0) this.#events.changed(applied.changed)
      return
    }
    for (const bucket of applied.mismatches) this.#events.mismatch(bucket)
    throw new ProblemError('checksum', `${applied.mismatches.length} buckets do not add up and are downloaded again`)
  }

  /**
   * What the announced buckets hold and we do not: an estimate, because ops may have been compacted away. `ops` of a
   * bucket is what the server counted when it was applied, and what has come since; a first download that was cut short
   * goes on where it stood.
   */
  #expect(entries: readonly BucketEntry[]): void {
    const known = new Map(
      this.#db.all('SELECT name, applied_op, ops FROM rp_buckets WHERE name IS NOT NULL').map((row) => [row.name, row]),
    )
    this.#received = 0
    this.#total = 0
    for (const { bucket, count } of entries) {
      const row = known.get(bucket)
      const here = row ? Math.min(count, integer(row.ops)) : 0
      const first = !row || row.applied_op === 0
      if (first) this.#received += here
      this.#total += first ? count : count - here
    }
    this.#events.begins()
    this.#tell()
  }

  #tell(): void {
    const total = Math.max(this.#total, this.#received)
    this.#events.progress({ downloaded: this.#received, total, fraction: total === 0 ? 0 : this.#received / total })
  }
}
