import { addChecksums } from '../../protocol/checksum.ts'
import type { AppendRequest } from '../../protocol/messages/bucket.ts'
import { putChecksum, removeChecksum } from '../../protocol/op-checksum.ts'
import { opText, opIdOf, splitOps } from '../../protocol/op-text.ts'
import type { RowOp, WireOp } from '../../protocol/ops.ts'

export const put = (id: string, data: string): RowOp => ({
  op: 'PUT',
  objectType: 't',
  objectId: id,
  subkey: id,
  checksum: putChecksum('t', id, data),
  data,
})

export const remove = (id: string): RowOp => ({
  op: 'REMOVE',
  objectType: 't',
  objectId: id,
  subkey: id,
  checksum: removeChecksum(id),
  data: null,
})

/** Returns ops as the replicator appends them, with ids from `first` on. */
export function page(first: number, ...ops: RowOp[]): Omit<AppendRequest, 'v' | 'committed'> {
  const texts = ops.map((op, i) => opText(first + i, op))
  const checksum = ops.reduce((sum, op) => addChecksums(sum, op.checksum), 0)
  return { first, last: first + ops.length - 1, count: ops.length, checksum, body: texts.join(',') }
}

/** Applies ops as a client does: rows, and the sum of checksums, which a CLEAR resets. */
export class Replica {
  readonly rows = new Map<string, string>()
  checksum = 0
  /** The last op, or the checkpoint that was completed. */
  position = 0

  /** Throws when an op came before, or is above the checkpoint. */
  apply(body: string, checkpoint: number): void {
    for (const text of splitOps(body)) {
      const op = JSON.parse(text) as WireOp
      const id = opIdOf(text)
      if (id <= this.position) throw new Error(`op ${id} came again`)
      if (id > checkpoint) throw new Error(`op ${id} is above ${checkpoint}`)
      this.position = id
      if (op.op === 'CLEAR') this.rows.clear()
      if (op.op === 'PUT') this.rows.set(op.object_id, op.data)
      if (op.op === 'REMOVE') this.rows.delete(op.object_id)
      this.checksum = op.op === 'CLEAR' ? op.checksum >>> 0 : addChecksums(this.checksum, op.checksum)
    }
  }

  get content(): string {
    return JSON.stringify([...this.rows].sort(([a], [b]) => (a < b ? -1 : 1)))
  }

  copy(): Replica {
    const copy = new Replica()
    for (const [id, data] of this.rows) copy.rows.set(id, data)
    copy.checksum = this.checksum
    copy.position = this.position
    return copy
  }
}

/** Deterministic numbers in [0, 1). */
export function randomOf(seed: number): () => number {
  let state = (seed * 2654435761) >>> 0 || 1
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
