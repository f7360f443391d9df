import { RockpoolError } from '../../../protocol/errors.ts'
import type { SourcePosition, SourceStream } from '../../source.ts'
import type { Lsn, ReplicationSession } from '../types.ts'
import { needsHeartbeat } from './continuity.ts'
import { parseLsn } from './lsn.ts'
import { confirmedBy, type PostgresPosition } from './positions.ts'

export interface SourceStreamPorts {
  /** What the slot had confirmed when the stream began. Positions up to there are acknowledged after each slice. */
  confirmed: Lsn
  /** Resolves when the slot has confirmed an LSN, or when that takes too long. Never rejects. */
  heard(lsn: Lsn): Promise<void>
  /** Resolves when the transaction has come again that the stored position is beyond. */
  repeated: Promise<PostgresPosition>
}

/** Returns a replication session as the port has it. */
export function sourceStream(
  replication: ReplicationSession,
  { confirmed, heard, repeated }: SourceStreamPorts,
): SourceStream {
  /** Settled: nothing is waited for. */
  let moved: Promise<void> | null = null
  let again: string | null = null

  /**
   * A walsender that is sending looks for what we say only when it cannot send (`WalSndWriteData`, 14 to 18), and one
   * whose socket has gone does not look at all. So nothing is read any more, and the connection stays until the slot
   * has moved.
   */
  function acknowledge(position: PostgresPosition): void {
    replication.acknowledge(confirmedBy(position))
    if (!position.beyond || moved !== null || confirmedBy(position) <= confirmed) return
    replication.pause()
    moved = heard(confirmedBy(position))
  }

  async function close(): Promise<void> {
    await moved
    await replication.close()
  }

  void repeated.then((position) => {
    again = position.lsn
    acknowledge(position)
    return close()
  })

  return {
    pause: () => replication.pause(),
    resume() {
      if (moved === null) replication.resume()
    },
    acknowledge: (position: SourcePosition) => acknowledge(position as PostgresPosition),
    lag(position) {
      if (position === null) return null
      const { walEnd } = replication
      const last = position as PostgresPosition
      return { bytes: Math.max(0, Number(walEnd - parseLsn(last.lsn))), nudge: needsHeartbeat(walEnd, last) }
    },
    ended: replication.ended.then(() => {
      if (again === null) return
      throw new RockpoolError(
        'ROCKPOOL_SOURCE_UNREACHABLE',
        `the transaction at ${again} was left behind, and came again: the slot has now been moved`,
      )
    }),
    close,
  }
}
