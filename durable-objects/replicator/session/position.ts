import { parseLsn, type PreparedSource } from '../../../sources/postgres/index.ts'
import type { Position, State } from '../store/storage.ts'

/**
 * Why what the slot will tell does not connect to what it told so far; null when it may. What remains is seen in the stream: the stored transaction
 * comes again first, the same as it was (`Intake`), for only its commit LSN was acknowledged. That LSN may be below the slot's for nobody else.
 */
export function disconnected(
  known: State['source'],
  position: Position | null,
  { identity, slot, walEnd }: Pick<PreparedSource, 'identity' | 'slot' | 'walEnd'>,
): { reason: string; slotLost: boolean } | null {
  if (known === null) return null
  const other = (reason: string) => ({ reason, slotLost: false })
  if (known.systemIdentifier !== identity.systemIdentifier) return other('this is another database server')
  if (known.database !== identity.database) return other(`this is another database: ${identity.database}, not ${known.database}`)
  if (slot.lost !== null) return { reason: slot.lost, slotLost: true }
  if (slot.created) return { reason: 'the slot was missing', slotLost: true }
  if (position === null) return null
  const at = parseLsn(position.lsn)
  if (walEnd < at) return other(`the database was put back to an older state: its WAL ends before ${position.lsn}`)
  if (slot.confirmedFlush > at) return other(`somebody else has read the slot, beyond ${position.lsn}`)
  return null
}

/** WAL of others beyond our position that makes us emit a marker, so that the slot moves on. */
const HEARTBEAT_BYTES = 16n * 1024n * 1024n

export function wantsHeartbeat(walEnd: bigint | null, position: Position | null): boolean {
  return walEnd !== null && position !== null && walEnd - parseLsn(position.lsn) > HEARTBEAT_BYTES
}
