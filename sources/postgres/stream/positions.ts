import type { SourceEvent, StreamedTo } from '../../source.ts'
import { parseLsn } from './lsn.ts'
import type { Lsn } from '../types.ts'

/** The last whole transaction stored. Commit LSN as `X/X`, time as Postgres sent it. */
export type PostgresPosition = {
  lsn: string
  xid: number
  time: string
  /** The slot is moved behind its commit record, so that it does not come again. */
  beyond?: true
}

/**
 * What Postgres hears when everything up to a position is durable. The slot sends a transaction when its commit record
 * does not start before what was confirmed (`SnapBuildXactNeedsSkip`, 14 to 18): so the last one comes again, and does
 * not when the LSN is one higher.
 */
export const confirmedBy = ({ lsn, beyond }: PostgresPosition): Lsn => parseLsn(lsn) + (beyond ? 1n : 0n)

/** How much of the next transaction is stored. */
export type PostgresPlace = {
  lsn: string
  xid: number
  /** Its commit time. Absent in what an earlier version stored. */
  time?: string
  /** Its first changes that are stored: of every table of the publication, and messages of ours. */
  changes: number
}

/** What is stored, as this kind reads it. */
export interface PostgresStreamedTo {
  position: PostgresPosition | null
  place: PostgresPlace | null
}

/** Other kinds' state never comes this far: see `fromStored`. */
export const postgresStreamedTo = ({ position, place }: StreamedTo): PostgresStreamedTo => ({
  position: position as PostgresPosition | null,
  place: place as PostgresPlace | null,
})

/** The transaction that is being delivered. */
export class OpenTransaction {
  readonly position: PostgresPosition
  /** Everything of it is stored. */
  readonly skip: boolean
  /**
   * Changes delivered, and how many of the first ones are stored already. Those of tables that are not followed count:
   * the set of tables may change.
   */
  seen = 0
  readonly stored: number
  /** In place of each change that is no event. */
  readonly passed: Extract<SourceEvent, { kind: 'passed' }>

  /** `behind`: everything that is stored, when all of this one is. */
  constructor(position: PostgresPosition, stored: number, behind: PostgresPosition | null) {
    this.position = position
    this.skip = behind !== null
    this.stored = stored
    this.passed = { kind: 'passed', whole: this.skip, beyond: { ...(behind ?? position), beyond: true } }
  }

  get beyond(): PostgresPosition {
    return { ...this.position, beyond: true }
  }

  place(changes: number): PostgresPlace {
    const { lsn, xid, time } = this.position
    return { lsn, xid, time, changes }
  }
}
