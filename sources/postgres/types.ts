import type { TableName } from '../../protocol/tables.ts'
import type { LargeValue } from './copy/large-value.ts'

export type { WantedColumns } from '../source.ts'

/**
 * A log sequence number: a position in Postgres's WAL, in bytes. Compared as bigint, never as text; printed `X/X` by
 * `formatLsn`.
 */
export type Lsn = bigint

/**
 * One column of a tuple: its text, null, undefined for "unchanged TOAST, not sent", or a `LargeValue` for one that was
 * too large.
 */
export type TupleValue = string | null | undefined | LargeValue
export type Tuple = TupleValue[]

export interface RelationColumn {
  name: string
  typeOid: number
  typmod: number
  /** True for columns of the replica identity, which under REPLICA IDENTITY FULL are all columns. */
  key: boolean
}

/**
 * A decoded pgoutput message (`messages 'true'`). Times are ISO 8601 with microseconds, UTC. A change has an `xid` only
 * inside a stream block of protocol version 2: that of the subtransaction that made it.
 */
export type PgoutputMessage =
  /**
   * `finalLsn` is the START of the commit record: the same as the commit's `commitLsn`. `xid` is the low 32 bits of the
   * top-level xid.
   */
  | { type: 'begin'; finalLsn: Lsn; commitTime: string; xid: number }
  | {
      type: 'relation'
      oid: number
      schema: string
      name: string
      identity: 'd' | 'n' | 'f' | 'i'
      columns: RelationColumn[]
      xid?: number
    }
  | { type: 'insert'; oid: number; new: Tuple; xid?: number }
  /**
   * `key`: only key columns are set; `old`: the whole old row (identity FULL). Both absent when the key did not change.
   */
  | { type: 'update'; oid: number; key?: Tuple; old?: Tuple; new: Tuple; xid?: number }
  | { type: 'delete'; oid: number; key?: Tuple; old?: Tuple; xid?: number }
  | { type: 'truncate'; oids: number[]; cascade: boolean; restartIdentity: boolean; xid?: number }
  | { type: 'commit'; commitLsn: Lsn; endLsn: Lsn; commitTime: string }
  | { type: 'message'; transactional: boolean; lsn: Lsn; prefix: string; content: Uint8Array; xid?: number }
  /** The transaction came from another server: its commit there, and the name that replication from there has here. */
  | { type: 'origin'; commitLsn: Lsn; name: string }
  /**
   * A type that is not built in, before the first relation that uses it; of a domain its own oid and the name of its
   * base type.
   */
  | { type: 'type'; oid: number; schema: string; name: string; xid?: number }
  /** A block of a transaction that has not ended yet. `first`: nothing of it was sent before. */
  | { type: 'stream start'; xid: number; first: boolean }
  | { type: 'stream stop' }
  | { type: 'stream commit'; xid: number; commitLsn: Lsn; endLsn: Lsn; commitTime: string }
  /** `subXid` = `xid`: the whole transaction is gone; else what that subtransaction did. */
  | { type: 'stream abort'; xid: number; subXid: number }

export interface CatalogColumn {
  name: string
  typeOid: number
  /** As `format_type` prints it, so it can follow `::`. */
  typeName: string
  /** What `values.ts` needs to decode the text of this column. */
  type: ColumnType
  notNull: boolean
}

/** What the decoder of values needs to know about a type; nested for arrays, domains, composites and ranges. */
export interface ColumnType {
  oid: number
  name: string
  kind: 'base' | 'enum' | 'domain' | 'array' | 'composite' | 'range' | 'multirange'
  /** The element of an array, the base of a domain, or the subtype of a range. */
  of?: ColumnType
  attributes?: { name: string; type: ColumnType }[]
  /** Labels of an enum. Renaming one changes the text of existing rows. */
  labels?: string
  /** The delimiter of an array when it is not `,`. */
  delimiter?: string
}

/** A relation that stores rows. */
export interface TablePart extends TableName {
  oid: number
}

/**
 * A relation under whose name rows come through the stream: a table, or a partitioned table with
 * `publish_via_partition_root`.
 */
export interface CatalogTable extends TableName {
  oid: number
  /**
   * The streamed columns that are read, and those of the key, in attribute order. Without a key, all streamed columns.
   */
  columns: CatalogColumn[]
  /**
   * All streamed columns, when they are more. Generated columns are streamed only when they are published, and a column
   * list may leave out others.
   */
  sent?: readonly Pick<CatalogColumn, 'name' | 'typeOid'>[]
  /** The columns that the sync config names, without which a row would be evaluated differently. */
  named?: readonly string[]
  /**
   * Names of the columns of the primary key or identity index, in key order. Empty under identity FULL without a key,
   * where rows are identified by all their values.
   */
  key: string[]
  /** The equality operator of each key column, as SQL. */
  keyEquals: string[]
  /**
   * The type to which a value is cast for that, as SQL. Never a domain, whose CHECK may call any function of its owner.
   * When absent or null, texts are compared.
   */
  keyTypes?: (string | null)[]
  identity: 'd' | 'n' | 'f' | 'i'
  /** Its own name and those of the partitioned tables above it, because its rows are rows of all of them. */
  names: TableName[]
  /** The relations that store its rows: itself, or its leaf partitions. */
  parts: TablePart[]
  /** True for a partitioned table, which has no rows of its own. */
  partitioned: boolean
  /** The condition of the publication, as SQL over its columns. Other rows are not published. */
  rowFilter: string | null
  /** Changes with any change of the table's definition: columns, identity, types, publication, partitions. */
  fingerprint: string
}

/** A pg_snapshot. An xid is invisible when it is ≥ xmax or in `xip`. Values are xid8. */
export interface Snapshot {
  xmin: bigint
  xmax: bigint
  xip: ReadonlySet<bigint>
}

/** Identity of the database that a slot belongs to. */
export interface SourceIdentity {
  systemIdentifier: string
  timeline: number
  database: string
}

/** A running streaming-replication session. */
export interface ReplicationSession {
  /** Stops reading from the socket. Status messages continue, so that the server does not disconnect us. */
  pause(): void
  resume(): void
  /**
   * Acknowledges that everything up to this commit LSN is durable, at once or with the next status, and never beyond
   * the server's WAL end.
   */
  acknowledge(lsn: Lsn): void
  /** The WAL end that the server reported last. */
  readonly walEnd: Lsn
  /** Ends the session; resolves when the socket is closed. */
  close(): Promise<void>
  /** Resolves after `close()`, and rejects with a RockpoolError when the session ends otherwise. */
  readonly ended: Promise<void>
}

export interface ReplicationHandlers {
  /** Called for each message in order, synchronously. `bytes` is the size of the message. */
  message(message: PgoutputMessage, bytes: number): void
  /** Called for a keepalive: everything up to `walEnd` that concerns this slot was sent before it. */
  keepalive(walEnd: Lsn): void
}
