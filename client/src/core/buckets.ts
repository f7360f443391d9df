import { addChecksums } from '../../../protocol/checksum.ts'
import type { BucketEntry } from '../../../protocol/lines.ts'
import type { WireOp } from '../../../protocol/ops.ts'
import type { Schema } from '../types.ts'
import { confirmWrites } from './outbox.ts'
import { deriveRows } from './rows.ts'
import { integer, text, transaction, type Sqlite } from './sqlite.ts'
import { put } from './storage.ts'

/** A checkpoint as announced: all buckets of this client. */
export interface Target {
  lastOp: number
  writeCheckpoint: string | null
  buckets: Map<string, Pick<BucketEntry, 'checksum' | 'count' | 'priority'>>
}

/** What the client asks with: everything up to `after` is here. */
export function positions(db: Sqlite): { name: string; after: string }[] {
  return db
    .all('SELECT name, last_op FROM rp_buckets WHERE name IS NOT NULL')
    .map((row) => ({ name: text(row.name), after: String(row.last_op) }))
}

/** The first line of a connection: buckets that are not in it are no longer ours. */
export function keepBuckets(db: Sqlite, target: Target): void {
  transaction(db, () => {
    for (const { name } of positions(db)) if (!target.buckets.has(name)) dropBucket(db, name)
  })
}

/** Its ops stay until the next whole checkpoint, so that its rows do not vanish before what replaces them has come. */
export function dropBucket(db: Sqlite, name: string): void {
  db.run('UPDATE rp_buckets SET name = NULL WHERE name = ?', [name])
}

/** Stores received ops. Nothing of them is visible before the checkpoint is complete. Answers their number. */
export function receive(db: Sqlite, name: string, ops: readonly WireOp[]): number {
  const last = ops.at(-1)
  if (!last) return 0
  transaction(db, () => {
    const known = db.all('SELECT id, checksum, cleared_op FROM rp_buckets WHERE name = ?', [name])[0]
    if (!known) db.run('INSERT INTO rp_buckets (name) VALUES (?)', [name])
    const bucket = known ? integer(known.id) : integer(db.all('SELECT last_insert_rowid() AS id')[0]?.id)
    let checksum = known ? integer(known.checksum) : 0
    let cleared = known ? integer(known.cleared_op) : 0
    for (const op of ops) {
      const id = Number(op.op_id)
      if (op.op === 'CLEAR') {
        // It replaces everything before it, also what has been received and not applied.
        cleared = id
        checksum = op.checksum >>> 0
        db.run('DELETE FROM rp_ops WHERE bucket = ? AND op_id > (SELECT applied_op FROM rp_buckets WHERE id = ?)', [
          bucket,
          bucket,
        ])
        continue
      }
      checksum = addChecksums(checksum, op.checksum)
      if (op.op === 'MOVE') continue
      db.run('INSERT INTO rp_ops (bucket, op_id, type, row_id, subkey, data) VALUES (?, ?, ?, ?, ?, ?)', [
        bucket,
        id,
        op.object_type,
        op.object_id,
        op.subkey,
        op.op === 'PUT' ? op.data : null,
      ])
    }
    db.run('UPDATE rp_buckets SET last_op = ?, checksum = ?, cleared_op = ?, ops = ops + ? WHERE id = ?', [
      Number(last.op_id),
      checksum,
      cleared,
      ops.length,
      bucket,
    ])
  })
  return ops.length
}

export type Applied = { ok: true; changed: Set<string> } | { ok: false; mismatches: string[] }

/**
 * Applies a complete checkpoint in one transaction, after its checksums were verified. `priority`: only the buckets at
 * least as urgent; then what was removed as a whole stays. Buckets that do not add up are dropped, and nothing is
 * applied.
 */
export function applyCheckpoint(db: Sqlite, schema: Schema, target: Target, priority: number | null): Applied {
  return transaction(db, (): Applied => {
    const inScope = [...target.buckets].filter(([, bucket]) => priority === null || bucket.priority <= priority)
    const known = new Map(
      db
        .all('SELECT id, name, checksum, last_op, applied_op, cleared_op FROM rp_buckets WHERE name IS NOT NULL')
        .map((row) => [text(row.name), row]),
    )
    const mismatches = inScope.flatMap(([name, bucket]) => {
      const row = known.get(name)
      return (row ? integer(row.checksum) : 0) === bucket.checksum >>> 0 ? [] : [name]
    })
    if (mismatches.length > 0) {
      for (const name of mismatches) dropBucket(db, name)
      return { ok: false, mismatches }
    }
    for (const [name, entry] of inScope) {
      const row = known.get(name)
      if (!row) continue
      const bucket = integer(row.id)
      if (integer(row.last_op) > integer(row.applied_op) || integer(row.cleared_op) > integer(row.applied_op)) {
        settleBucket(db, bucket, integer(row.applied_op), integer(row.cleared_op))
      }
      db.run(
        'UPDATE rp_buckets SET last_op = max(last_op, ?1), applied_op = max(last_op, ?1), priority = ?2, ops = ?4 WHERE id = ?3',
        [...[target.lastOp, entry.priority, bucket, entry.count]],
      )
    }
    if (priority === null) {
      removeOrphans(db)
      if (target.writeCheckpoint !== null) {
        put(db, 'write_checkpoint', target.writeCheckpoint)
        confirmWrites(db)
      }
      put(db, 'last_synced_at', Date.now())
    }
    return { ok: true, changed: deriveRows(db, schema) }
  })
}

/** Marks the rows that the new ops touch, and keeps of each row only its newest op. */
function settleBucket(db: Sqlite, bucket: number, applied: number, cleared: number): void {
  if (cleared > applied) {
    db.run('INSERT OR IGNORE INTO rp_dirty SELECT type, row_id FROM rp_ops WHERE bucket = ? AND op_id <= ?', [
      bucket,
      cleared,
    ])
    db.run('DELETE FROM rp_ops WHERE bucket = ? AND op_id <= ?', [bucket, cleared])
  }
  db.run('INSERT OR IGNORE INTO rp_dirty SELECT type, row_id FROM rp_ops WHERE bucket = ? AND op_id > ?', [
    bucket,
    applied,
  ])
  // From the rows that have new ops to what their newest op replaces: an old row that nothing touched is not looked at,
  // and a row with many new ops is looked at once, not once for each of them.
  db.run(
    `DELETE FROM rp_ops WHERE bucket = ?1 AND op_id IN (
      SELECT o.op_id FROM (
        SELECT type, row_id, subkey, max(op_id) AS newest FROM rp_ops WHERE bucket = ?1 AND op_id > ?2 GROUP BY type, row_id, subkey
      ) n CROSS JOIN rp_ops o ON o.type = n.type AND o.row_id = n.row_id
      WHERE o.bucket = ?1 AND o.subkey = n.subkey AND o.op_id < n.newest)`,
    [bucket, applied],
  )
  db.run('DELETE FROM rp_ops WHERE bucket = ? AND op_id > ? AND data IS NULL', [bucket, applied])
}

function removeOrphans(db: Sqlite): void {
  const orphans = '(SELECT id FROM rp_buckets WHERE name IS NULL)'
  db.run(`INSERT OR IGNORE INTO rp_dirty SELECT type, row_id FROM rp_ops WHERE bucket IN ${orphans}`)
  db.run(`DELETE FROM rp_ops WHERE bucket IN ${orphans}`)
  db.run('DELETE FROM rp_buckets WHERE name IS NULL')
}
