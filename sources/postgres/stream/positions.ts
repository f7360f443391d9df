import type { StreamedTo } from '../../source.ts'

/** The last whole transaction stored. Commit LSN as `X/X`, time as Postgres sent it. */
export type PostgresPosition = {
  lsn: string
  xid: number
  time: string
}

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
  /** Changes delivered, and how many of the first ones are stored already. Those of tables that are not followed count: the set of tables may change. */
  seen = 0
  readonly stored: number

  constructor(position: PostgresPosition, skip: boolean, stored: number) {
    this.position = position
    this.skip = skip
    this.stored = stored
  }

  place(changes: number): PostgresPlace {
    const { lsn, xid, time } = this.position
    return { lsn, xid, time, changes }
  }
}
