import type { TableName } from '../../protocol/tables.ts'
import type { LargeValue } from './copy/large-value.ts'

export type { WantedColumns } from '../source.ts'

/** A log sequence number: a position in Postgres's WAL, in bytes. Compared as bigint, never as text; printed `X/X` by `formatLsn`. */
export type Lsn = bigint

/** One column of a tuple: its text, null, undefined for "unchanged TOAST, not sent", or what is left of a value that was too large. */
export type TupleValue = string | null | undefined | LargeValue
export type Tuple = TupleValue[]

export interface RelationColumn {
  name: string
  typeOid: number
  typmod: number
  /** Part of the replica identity; under REPLICA IDENTITY FULL all columns are flagged. */
  key: boolean
}

/**
 * A decoded pgoutput message (`messages 'true'`). Times are ISO 8601 with microseconds, UTC. `xid` of a change is there only inside a stream
 * block of protocol version 2: that of the subtransaction that made it.
 */
export type PgoutputMessage =
  /** `finalLsn` is the START of the commit record: the same as the commit's `commitLsn`. `xid` is the low 32 bits of the top-level xid. */
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
  /** `key`: only key columns are set; `old`: the whole old row (identity FULL). Both absent when the key did not change. */
  | { type: 'update'; oid: number; key?: Tuple; old?: Tuple; new: Tuple; xid?: number }
  | { type: 'delete'; oid: number; key?: Tuple; old?: Tuple; xid?: number }
  | { type: 'truncate'; oids: number[]; cascade: boolean; restartIdentity: boolean; xid?: number }
  | { type: 'commit'; commitLsn: Lsn; endLsn: Lsn; commitTime: string }
  | { type: 'message'; transactional: boolean; lsn: Lsn; prefix: string; content: Uint8Array; xid?: number }
  /** The transaction came from another server: its commit there, and the name that replication from there has here. */
  | { type: 'origin'; commitLsn: Lsn; name: string }
  /** A type that is not built in, before the first relation that uses it; of a domain its own oid and the name of its base type. */
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
  /** As `format_type` prints it: can stand behind `::`. */
  typeName: string
  /** For domains the base type, for arrays the element type: what `values.ts` needs to decode text of this column. */
  type: ColumnType
  notNull: boolean
}

/** What the decoder of values must know of a type; nested for arrays, domains, composites and ranges. */
export interface ColumnType {
  oid: number
  name: string
  kind: 'base' | 'enum' | 'domain' | 'array' | 'composite' | 'range' | 'multirange'
  /** Element of an array, base of a domain, subtype of a range. */
  of?: ColumnType
  attributes?: { name: string; type: ColumnType }[]
  /** Labels of an enum: a renamed one changes the text of rows that are there already. */
  labels?: string
  /** Array delimiter when not `,`. */
  delimiter?: string
}

/** A relation in which rows lie. */
export interface TablePart extends TableName {
  oid: number
}

/** A relation under whose name rows come by the stream: a table, or a partitioned table whose publication says so (`publish_via_partition_root`). */
export interface CatalogTable extends TableName {
  oid: number
  /** Streamed columns that somebody reads, and those of the key, in attribute order. Without a key all that are streamed. */
  columns: CatalogColumn[]
  /** All columns that are streamed, when they are more: generated ones are not unless they are published, nor what a column list leaves out. */
  sent?: readonly Pick<CatalogColumn, 'name' | 'typeOid'>[]
  /** Those of them without which a row means something else: the sync config names them. */
  named?: readonly string[]
  /** Names of the primary key (or identity index) columns in key order. Empty: identity FULL without a key, rows are told apart by all they hold. */
  key: string[]
  /** The operator by which each of them is equal to a value, as SQL. */
  keyEquals: string[]
  /** The type that a value is cast to for that, as SQL: never a domain, whose CHECK may call what its owner likes. Absent, or null: texts are compared. */
  keyTypes?: (string | null)[]
  identity: 'd' | 'n' | 'f' | 'i'
  /** Its own name and those of the partitioned tables above it: its rows are rows of all of them. */
  names: TableName[]
  /** Where its rows lie: itself, or its leaf partitions. */
  parts: TablePart[]
  /** It is a partitioned table: it has no rows of its own. */
  partitioned: boolean
  /** Condition of the publication, as SQL over its columns: other rows are not published. */
  rowFilter: string | null
  /** Changes with any change of the table's definition: columns, identity, types, publication, partitions. */
  fingerprint: string
}

/** A pg_snapshot: `xid` is invisible when ≥ xmax or listed in xip. Values are xid8. */
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
  /** Stops reading the socket; status messages go on, so the server does not cut us. */
  pause(): void
  resume(): void
  /** Everything up to here (a commit LSN) is durable. Sent at once or with the next status; never beyond the server's WAL end. */
  acknowledge(lsn: Lsn): void
  /** WAL end as last heard from the server. */
  readonly walEnd: Lsn
  /** Ends the session; resolves when the socket is closed. */
  close(): Promise<void>
  /** Settles when the session is over: resolved after `close()`, rejected with a RockpoolError otherwise. */
  readonly ended: Promise<void>
}

export interface ReplicationHandlers {
  /** In order, synchronously, as they are parsed. `bytes` is the size of the message. */
  message(message: PgoutputMessage, bytes: number): void
  /** A keepalive: everything up to `walEnd` that concerns this slot has been sent before it. */
  keepalive(walEnd: Lsn): void
}
