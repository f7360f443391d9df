import { addChecksums } from '../../../../protocol/checksum.ts'
import type { BucketEntry } from '../../../../protocol/lines.ts'
import type { WireOp } from '../../../../protocol/ops.ts'
import { integer, text, type Sqlite } from '../../sqlite/sqlite.ts'
import { Applier } from './apply.ts'
import { deriveRows } from './derive.ts'
import { GENERATIONS, put } from './layout.ts'
import { confirmWrites } from './local.ts'
import type { StoredTable } from './tables.ts'

/** A checkpoint as announced: all buckets of this client. */
export interface Target {
  lastOp: number
  writeCheckpoint: string | null
  buckets: ReadonlyMap<string, Pick<BucketEntry, 'checksum' | 'priority' | 'count'>>
}

/** A bucket of a checkpoint that is applied. */
interface Applying {
  name: string
  lastOp: number
  priority: number
  count: number
}

export type Applied = { ok: true; changed: Set<string> } | { ok: false; mismatches: string[] }

/** So much of a checkpoint is kept in memory. Most checkpoints are smaller, and are one transaction in all. */
export const MEMORY_BYTES = 1 << 20

/** What has been received of a bucket since it was last written down. */
interface Received {
  lastOp: number
  checksum: number
  /** A CLEAR has come: nothing before it counts. */
  cleared: boolean
  /** How many, also of those that leave nothing to apply. */
  count: number
  ops: WireOp[]
}

/** What the client asks with: everything up to `after` is here. */
export function positions(db: Sqlite): { name: string; after: string }[] {
  const rows = db.prepare('SELECT name, last_op FROM rp_buckets WHERE name IS NOT NULL').all()
  return rows.map(([name, lastOp]) => ({ name: text(name), after: String(lastOp) }))
}

/**
 * What one connection brings: it is staged, and applied when a checkpoint is complete. Nothing of it is visible before.
 */
export class Incoming {
  readonly #db: Sqlite
  readonly #tables: ReadonlyMap<string, StoredTable>
  readonly #memoryBytes: number
  readonly #received = new Map<string, Received>()
  #bytes = 0

  constructor(db: Sqlite, tables: ReadonlyMap<string, StoredTable>, memoryBytes = MEMORY_BYTES) {
    this.#db = db
    this.#tables = tables
    this.#memoryBytes = memoryBytes
  }

  /**
   * Buckets that a checkpoint does not name are no longer ours. Their rows stay until one is whole, so that they do not
   * vanish before what replaces them has come.
   */
  keep(target: Target): void {
    this.#db.transaction(() => {
      for (const { name } of positions(this.#db)) if (!target.buckets.has(name)) this.#drop(name)
    })
    for (const name of this.#received.keys()) if (!target.buckets.has(name)) this.#received.delete(name)
  }

  /** Ops of a bucket that are in no table yet. */
  inMemory(name: string): number {
    return this.#received.get(name)?.count ?? 0
  }

  /** `bytes`: of the line that brought them. */
  receive(name: string, ops: readonly WireOp[], bytes: number): void {
    const last = ops.at(-1)
    if (!last) return
    const received = this.#of(name)
    for (const op of ops) {
      if (op.op === 'CLEAR') {
        received.cleared = true
        received.checksum = op.checksum >>> 0
        received.ops = []
      } else {
        received.checksum = addChecksums(received.checksum, op.checksum)
        if (op.op !== 'MOVE') received.ops.push(op)
      }
    }
    received.lastOp = Number(last.op_id)
    received.count += ops.length
    this.#bytes += bytes
    if (this.#bytes > this.#memoryBytes) this.#writeDown()
  }

  /**
   * Applies a complete checkpoint in one transaction, after its checksums were verified. `priority`: only the buckets
   * at least as urgent; then what was removed as a whole stays. Buckets that do not add up are to be loaded again, and
   * nothing is applied.
   */
  complete(target: Target, priority: number | null, now: number): Applied {
    const inScope = [...target.buckets].filter(([, bucket]) => priority === null || bucket.priority <= priority)
    const mismatches = inScope.flatMap(([name, bucket]) =>
      this.#checksum(name) === bucket.checksum >>> 0 ? [] : [name],
    )
    if (mismatches.length > 0) {
      this.#db.transaction(() => {
        for (const name of mismatches) this.#again(name)
      })
      return { ok: false, mismatches }
    }
    const changed = this.#db.transaction(() => {
      const applier = new Applier(this.#db, this.#tables)
      for (const [name, { priority: of, count }] of inScope)
        this.#apply(applier, { name, lastOp: target.lastOp, priority: of, count })
      if (priority === null) this.#finish(applier, target, now)
      return new Set([...applier.changed, ...deriveRows(this.#db, this.#tables)])
    })
    for (const [name] of inScope) this.#received.delete(name)
    if (this.#received.size === 0) this.#bytes = 0
    return { ok: true, changed }
  }

  #of(name: string): Received {
    let received = this.#received.get(name)
    if (!received) {
      const [row] = this.#db.prepare('SELECT last_op, checksum FROM rp_buckets WHERE name = ?').all([name])
      received = { lastOp: Number(row?.[0] ?? 0), checksum: Number(row?.[1] ?? 0), cleared: false, count: 0, ops: [] }
      this.#received.set(name, received)
    }
    return received
  }

  #checksum(name: string): number {
    const received = this.#received.get(name)
    return received
      ? received.checksum
      : Number(this.#db.prepare('SELECT checksum FROM rp_buckets WHERE name = ?').all([name])[0]?.[0] ?? 0)
  }

  #writeDown(): void {
    const insert =
      'INSERT INTO rp_stage (bucket, seq, ops) VALUES (?1, (SELECT coalesce(max(seq), 0) + 1 FROM rp_stage WHERE bucket = ?1), ?2)'
    this.#db.transaction(() => {
      for (const [name, received] of this.#received) {
        const bucket = this.#note(name, received)
        if (received.ops.length > 0) this.#db.prepare(insert).run([bucket, JSON.stringify(received.ops)])
      }
    })
    this.#received.clear()
    this.#bytes = 0
  }

  /** Writes down how far the bucket is received. Answers its number. */
  #note(name: string, { lastOp, checksum, cleared, count }: Received): number {
    this.#db.prepare('INSERT INTO rp_buckets (name) VALUES (?) ON CONFLICT (name) DO NOTHING').run([name])
    const bucket = this.#number(name)
    if (cleared) {
      this.#db.prepare('DELETE FROM rp_stage WHERE bucket = ?').run([bucket])
      this.#nextGeneration(bucket)
    }
    this.#db
      .prepare('UPDATE rp_buckets SET last_op = ?, checksum = ?, ops = ops + ? WHERE id = ?')
      .run([lastOp, checksum, count, bucket])
    return bucket
  }

  /** One that nothing was applied with is new enough. */
  #nextGeneration(bucket: number): void {
    this.#db
      .prepare(
        `UPDATE rp_buckets SET generation = (generation + 1) % ${GENERATIONS}, swept = 0 WHERE id = ? AND swept = 1`,
      )
      .run([bucket])
  }

  #apply(applier: Applier, { name, lastOp, priority, count }: Applying): void {
    const received = this.#received.get(name)
    if (received) this.#note(name, received)
    const [row] = this.#db.prepare('SELECT id, generation, swept FROM rp_buckets WHERE name = ?').all([name])
    if (!row) return
    const [bucket, generation, swept] = [integer(row[0]), integer(row[1]), integer(row[2])]
    const src = bucket * GENERATIONS + generation
    const staged = this.#db.prepare('SELECT ops FROM rp_stage WHERE bucket = ? ORDER BY seq').all([bucket])
    for (const [ops] of staged) applyOps(applier, src, JSON.parse(text(ops)))
    if (received) applyOps(applier, src, received.ops)
    if (swept === 0) applier.sweep(bucket, generation)
    this.#db.prepare('DELETE FROM rp_stage WHERE bucket = ?').run([bucket])
    this.#db
      .prepare(
        'UPDATE rp_buckets SET last_op = max(last_op, ?1), applied_op = max(last_op, ?1), priority = ?2, ops = ?4, swept = 1 WHERE id = ?3',
      )
      .run([lastOp, priority, bucket, count])
  }

  #finish(applier: Applier, target: Target, now: number): void {
    for (const [id] of this.#db.prepare('SELECT id FROM rp_buckets WHERE name IS NULL').all())
      applier.sweep(integer(id), null)
    this.#db.exec('DELETE FROM rp_buckets WHERE name IS NULL')
    if (target.writeCheckpoint !== null) put(this.#db, 'write_checkpoint', target.writeCheckpoint)
    confirmWrites(this.#db)
    put(this.#db, 'last_synced_at', now)
  }

  #number(name: string): number {
    return integer(this.#db.prepare('SELECT id FROM rp_buckets WHERE name = ?').all([name])[0]?.[0])
  }

  #drop(name: string): void {
    this.#db.prepare('DELETE FROM rp_stage WHERE bucket = ?').run([this.#number(name)])
    this.#db.prepare('UPDATE rp_buckets SET name = NULL WHERE name = ?').run([name])
  }

  /** It keeps its number, and its rows are shown until it is here. */
  #again(name: string): void {
    this.#received.delete(name)
    this.#db.prepare('INSERT INTO rp_buckets (name) VALUES (?) ON CONFLICT (name) DO NOTHING').run([name])
    const bucket = this.#number(name)
    this.#db.prepare('DELETE FROM rp_stage WHERE bucket = ?').run([bucket])
    this.#db
      .prepare('UPDATE rp_buckets SET last_op = 0, applied_op = 0, checksum = 0, ops = 0 WHERE id = ?')
      .run([bucket])
    this.#nextGeneration(bucket)
  }
}

function applyOps(applier: Applier, src: number, ops: readonly WireOp[]): void {
  for (const op of ops) {
    if (op.op === 'PUT') applier.put(src, op.object_type, op.object_id, op.subkey, Number(op.op_id), op.data)
    else if (op.op === 'REMOVE') applier.remove(src, op.object_type, op.object_id, op.subkey)
  }
}
