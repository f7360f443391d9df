import { RockpoolError } from '../../../protocol/errors.ts'
import type { SourceEvent } from '../../source.ts'
import { widenXid } from '../copy/snapshot.ts'
import type { Lsn, PgoutputMessage } from '../types.ts'
import { ChangedRow } from './changed-row.ts'
import type { DescribedTables } from './described-tables.ts'
import { formatLsn, parseLsn } from './lsn.ts'
import { OpenTransaction, type PostgresPlace, type PostgresPosition, type PostgresStreamedTo } from './positions.ts'

/**
 * Messages of pgoutput as events behind what is stored. Exactly the stored commit LSN was acknowledged, so Postgres sends that transaction again before anything newer:
 * if it is the same, this is the database that we know.
 */
export class Transactions {
  readonly #tables: DescribedTables
  readonly #prefix: string
  readonly #stored: PostgresPosition | null
  readonly #storedLsn: Lsn
  #place: PostgresPlace | null
  /** Whether the stored transaction has come again. */
  #proved: boolean
  readonly #reference: () => bigint
  #tx: OpenTransaction | null = null
  readonly #sink: (event: SourceEvent, bytes: number) => void

  /** `prefix`: of our messages. `reference`: the xmax of a recent snapshot. */
  constructor(
    tables: DescribedTables,
    at: PostgresStreamedTo,
    { prefix, reference }: { prefix: string; reference: () => bigint },
    sink: (event: SourceEvent, bytes: number) => void,
  ) {
    this.#tables = tables
    this.#prefix = prefix
    this.#stored = at.position
    this.#storedLsn = at.position ? parseLsn(at.position.lsn) : 0n
    this.#place = at.place
    this.#proved = at.position === null
    this.#reference = reference
    this.#sink = sink
  }

  /** Throws ROCKPOOL_SOURCE_CHANGED when this is not the stream that was stored. */
  message(m: PgoutputMessage, bytes: number): void {
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
        if (m.transactional && m.prefix === this.#prefix) this.#change(m, bytes)
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
      }
      this.#tx = new OpenTransaction(position, true, 0)
      return
    }
    if (!this.#proved) throw sourceChanged(`the transaction at ${stored?.lsn ?? '0/0'} did not come again`)
    const place = this.#place
    if (place) {
      const same = place.lsn === position.lsn && place.xid === m.xid && (place.time === undefined || place.time === m.commitTime)
      if (!same) throw sourceChanged(`the rest of the transaction at ${place.lsn} did not come`)
    }
    const tx = new OpenTransaction(position, false, place?.changes ?? 0)
    this.#tx = tx
    this.#place = null
    const reference = this.#reference()
    this.#sink(
      {
        kind: 'begin',
        tx: widenXid(m.xid, reference),
        get at() {
          return tx.place(tx.stored)
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

  #change(m: Extract<PgoutputMessage, { type: 'insert' | 'update' | 'delete' | 'truncate' | 'message' }>, bytes: number): void {
    const tx = this.#tx
    if (!tx) throw new RockpoolError('ROCKPOOL_INTERNAL', 'the stream sent a change outside of a transaction')
    if (tx.skip) return
    const seen = ++tx.seen
    if (seen <= tx.stored) return
    if (m.type === 'truncate') {
      const tables = m.oids.flatMap((oid) => this.#tables.table(oid) ?? [])
      if (tables.length > 0) this.#sink({ kind: 'truncate', tables, at: tx.place(seen) }, bytes)
    } else if (m.type === 'message') this.#sink({ kind: 'mark', text: new TextDecoder().decode(m.content), at: tx.place(seen) }, bytes)
    else {
      const described = this.#tables.of(m.oid)
      if (described) this.#sink(new ChangedRow(m, described, tx), bytes)
    }
  }
}

const sourceChanged = (what: string) =>
  new RockpoolError('ROCKPOOL_SOURCE_CHANGED', `this is not the database, or not the state of it, that was followed so far: ${what}`)
