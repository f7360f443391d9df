import type { SourceIdentity as KeptIdentity } from '../../source.ts'
import type { PreparedSource } from '../prepare-source.ts'
import { parseLsn } from './lsn.ts'
import { confirmedBy, type PostgresPosition } from './positions.ts'

/**
 * Which database it is. `tls`: what its URL says of TLS holds. Absent in what an earlier version stored: its URL may
 * still say less.
 */
export type PostgresIdentity = { systemIdentifier: string; database: string; tls?: true }

/** Other kinds' state never comes this far: see `fromStored`. */
export const postgresIdentity = (identity: KeptIdentity | null): PostgresIdentity | null =>
  identity as PostgresIdentity | null

/**
 * Why what the slot will tell does not connect to what it told so far; null when it may. What remains is seen in the
 * stream: the stored transaction comes again first, the same as it was (`Transactions`), for only its commit LSN was
 * acknowledged, unless the position is beyond it. What was acknowledged may be below the slot's for nobody else.
 */
export function disconnected(
  known: PostgresIdentity | null,
  position: PostgresPosition | null,
  { identity, slot, walEnd }: Pick<PreparedSource, 'identity' | 'slot' | 'walEnd'>,
): { reason: string; slotLost: boolean } | null {
  if (known === null) return null
  const other = (reason: string) => ({ reason, slotLost: false })
  if (known.systemIdentifier !== identity.systemIdentifier) return other('this is another database server')
  if (known.database !== identity.database)
    return other(`this is another database: ${identity.database}, not ${known.database}`)
  if (slot.lost !== null) return { reason: slot.lost, slotLost: true }
  if (slot.created) return { reason: 'the slot was missing', slotLost: true }
  if (position === null) return null
  const at = parseLsn(position.lsn)
  if (walEnd < at) return other(`the database was put back to an older state: its WAL ends before ${position.lsn}`)
  if (slot.confirmedFlush > confirmedBy(position))
    return other(`somebody else has read the slot, beyond ${position.lsn}`)
  return null
}

/** WAL of others beyond our position that makes us emit a marker, so that the slot moves on. */
const HEARTBEAT_BYTES = 16n * 1024n * 1024n

export function needsHeartbeat(walEnd: bigint, position: PostgresPosition | null): boolean {
  return position !== null && walEnd - parseLsn(position.lsn) > HEARTBEAT_BYTES
}
