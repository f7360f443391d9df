import { RockpoolError } from '../../../protocol/errors.ts'
import type { Snapshot } from '../types.ts'

/** Parses the text of `pg_current_snapshot()`, `xmin:xmax:xid,xid…`. */
export function parseSnapshot(text: string): Snapshot {
  const parts = /^(\d+):(\d+):((?:\d+(?:,\d+)*)?)$/.exec(text)
  if (!parts) throw new RockpoolError('ROCKPOOL_INTERNAL', `${JSON.stringify(text)} is not a snapshot`)
  return {
    xmin: BigInt(parts[1]!),
    xmax: BigInt(parts[2]!),
    xip: new Set((parts[3] ?? '').split(',').filter(Boolean).map(BigInt)),
  }
}

/**
 * Returns true when the snapshot sees a committed top-level transaction. A commit can be streamed before it is visible.
 */
export function isVisible(snapshot: Snapshot, xid: bigint): boolean {
  return xid < snapshot.xmax && !snapshot.xip.has(xid)
}

/**
 * Returns the 64-bit xid of a Begin message, which carries only the low 32 bits: `reference` (the xmax of a recent
 * snapshot) plus the signed 32-bit difference, so that it is right on both sides of a wrap of the counter.
 */
export function widenXid(xid: number, reference: bigint): bigint {
  return reference + BigInt.asIntN(32, BigInt(xid) - (reference & 0xffffffffn))
}

/**
 * Returns true when every transaction that was delivered before the copy began to see the stream is visible to the
 * snapshot. No chunk may be read with a snapshot for which this is false. `start` was taken after the definition had
 * begun to see the stream.
 */
export function passesBarrier(start: Snapshot, snapshot: Snapshot): boolean {
  return snapshot.xmin >= start.xmax
}
