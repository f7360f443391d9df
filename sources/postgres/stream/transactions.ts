import { RockpoolError } from '../../../protocol/errors.ts'
import type { SourceEvent } from '../../source.ts'
import { widenXid } from '../copy/snapshot.ts'
import type { Lsn, PgoutputMessage } from '../types.ts'
import { ChangedRow } from './changed-row.ts'
import type { DescribedTables } from './described-tables.ts'
import { formatLsn, parseLsn } from './lsn.ts'
import {
  confirmedBy,
  OpenTransaction,
  type PostgresPlace,
  type PostgresPosition,
  type PostgresStreamedTo,
} from './positions.ts'

type ChangeMessage = Extract<PgoutputMessage, { type: 'insert' | 'update' | 'delete' | 'truncate' | 'message' }>

export interface TransactionsOptions {
  /** Of our messages. */
  prefix: string
  /** The xmax of a recent snapshot. */
  reference(): bigint
  /** What the slot had confirmed when the stream began. */
  confirmed: Lsn
  /** The transaction has come again that the stored position is beyond: the slot has not heard of it. */
  repeated(position: PostgresPosition): void
}

/**
 * Messages of pgoutput as events behind what is stored. Exactly the stored commit LSN was acknowledged, so Postgres
 * sends that transaction again before anything newer: if it is the same, this is the database that we know. Of a
 * position beyond its transaction the slot itself says that: nobody else confirms an LSN inside of a record.
 */
export class Transactions {
  readonly #tables: DescribedTables
  readonly #stored: PostgresPosition | null
  readonly #storedLsn: Lsn
  #place: PostgresPlace | null
  /** Whether the stored transaction has come again. */
  #proved: boolean
  readonly #options: TransactionsOptions
  #tx: OpenTransaction | null = null
  /** A transaction has come again that does not have to: nothing is read of this stream any more. */
  #over = false
  readonly #sink: (event: SourceEvent, bytes: number) => void

  constructor(
    tables: DescribedTables,
    at: PostgresStreamedTo,
    options: TransactionsOptions,
    sink: (event: SourceEvent, bytes: number) => void,
  ) {
    this.#tables = tables
    this.#stored = at.position
    this.#storedLsn = at.position ? parseLsn(at.position.lsn) : 0n
    this.#place = at.place
    this.#proved =
      at.position === null || (at.position.beyond === true && options.confirmed === confirmedBy(at.position))
    this.#options = options
    this.#sink = sink
  }

  /** Throws ROCKPOOL_SOURCE_CHANGED when this is not the stream that was stored. */
  message(m: PgoutputMessage, bytes: number): void {
    if (this.#over) return
    switch (m.type) {
      case 'begin':
        this.#begin(m, bytes)
        return
      case 'commit':
        this.#commit(bytes)
        return
      case 'relation': {
        const { table, expected, lacking } = this.#tables.describe(m)
        if (!expected) this.#sink({ kind: 'unexpected', table, lacking }, bytes)
        return
      }
      case 'message':
        if (m.transactional && m.prefix === this.#options.prefix) this.#change(m, bytes)
        return
      case 'insert':
      case 'update':
      case 'delete':
      case 'truncate':
        this.#change(m, bytes)
        return
      default:
        return
    }
  }

  #begin(m: Extract<PgoutputMessage, { type: 'begin' }>, bytes: number): void {
    const position = { lsn: formatLsn(m.finalLsn), xid: m.xid, time: m.commitTime }
    const stored = this.#stored
    if (stored && m.finalLsn <= this.#storedLsn) {
      if (m.finalLsn === this.#storedLsn) {
        if (m.xid !== stored.xid || m.commitTime !== stored.time)
          throw sourceChanged(`the transaction at ${stored.lsn} is not the one that was stored`)
        this.#proved = true
        if (stored.beyond) {
          this.#over = true
          this.#options.repeated(stored)
          return
        }
      }
      this.#tx = new OpenTransaction(position, 0, stored)
      return
    }
    if (!this.#proved) throw sourceChanged(`the transaction at ${stored?.lsn ?? '0/0'} did not come again`)
    const place = this.#place
    if (place) {
      const same =
        place.lsn === position.lsn && place.xid === m.xid && (place.time === undefined || place.time === m.commitTime)
      if (!same) throw sourceChanged(`the rest of the transaction at ${place.lsn} did not come`)
    }
    const tx = new OpenTransaction(position, place?.changes ?? 0, null)
    this.#tx = tx
    this.#place = null
    const reference = this.#options.reference()
    this.#sink(
      {
        kind: 'begin',
        tx: widenXid(m.xid, reference),
        get at() {
          return tx.place(tx.stored)
        },
        get beyond() {
          return tx.beyond
        },
      },
      bytes,
    )
  }

  #commit(bytes: number): void {
    const tx = this.#tx
    if (!tx) throw new RockpoolError('ROCKPOOL_INTERNAL', 'the stream sent a commit outside of a transaction')
    this.#tx = null
    if (!tx.skip) this.#sink({ kind: 'commit', position: tx.position }, bytes)
  }

  #change(m: ChangeMessage, bytes: number): void {
    const tx = this.#tx
    if (!tx) throw new RockpoolError('ROCKPOOL_INTERNAL', 'the stream sent a change outside of a transaction')
    const seen = ++tx.seen
    const event = tx.skip || seen <= tx.stored ? null : this.#event(m, tx)
    this.#sink(event ?? tx.passed, bytes)
  }

  /** Null: its tables are not followed. */
  #event(m: ChangeMessage, tx: OpenTransaction): SourceEvent | null {
    if (m.type === 'truncate') {
      const tables = m.oids.flatMap((oid) => this.#tables.table(oid) ?? [])
      return tables.length > 0 ? { kind: 'truncate', tables, at: tx.place(tx.seen) } : null
    }
    if (m.type === 'message') return { kind: 'mark', text: new TextDecoder().decode(m.content), at: tx.place(tx.seen) }
    const described = this.#tables.of(m.oid)
    return described ? new ChangedRow(m, described, tx) : null
  }
}

const sourceChanged = (what: string) =>
  new RockpoolError(
    'ROCKPOOL_SOURCE_CHANGED',
    `this is not the database, or not the state of it, that was followed so far: ${what}`,
  )
