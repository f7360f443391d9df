import type { DiagnosticCode } from '../protocol/diagnostics.ts'
import type { TableName } from '../protocol/tables.ts'
import type { SourceRow } from '../protocol/values.ts'
import type { OpaqueState, StateForm } from './stored.ts'

// The port of sources: everything that the replicator knows about the database that it follows. `sources/postgres` and
// `sources/memory` implement it, `registry.ts` lists the kinds, and `contract.ts` has the tests that each of them must
// pass. Errors are RockpoolErrors: after ROCKPOOL_SOURCE_UNREACHABLE the replicator tries again,
// ROCKPOOL_SOURCE_SETTINGS needs an operator, and ROCKPOOL_SOURCE_CHANGED means that everything is compared again. It
// is one file, because the author of a kind reads it from beginning to end.

/**
 * What every call is passed. A call that is not answered within `deadlineMs` rejects with ROCKPOOL_SOURCE_UNREACHABLE,
 * and the connection is closed; the next session opens another one. A call whose signal is aborted rejects as well.
 */
export interface Call {
  readonly signal: AbortSignal
  /** Milliseconds from the start of the call. */
  readonly deadlineMs: number
}

/** A problem that is reported to operators. */
export interface SourceProblem {
  code: DiagnosticCode
  reason: string
}

/** A kind of database. `Settings` are the settings of a tenant that it reads. */
export interface SourceKind<Settings> extends StateForm {
  /** URL schemes of this kind, without the colon. */
  readonly schemes: readonly string[]
  /**
   * Returns a connection, which opens nothing before its first call. Throws ROCKPOOL_SETTINGS when the URL or the
   * settings cannot be used.
   */
  connect(options: ConnectOptions<Settings>): SourceConnection
  /** Returns what operators may see of the URL, without user and password, or null when it cannot be parsed. */
  address(url: string, identity: SourceIdentity | null): SourceAddress | null
  /**
   * Formats a position for people. `time` is when its transaction was committed, in ISO 8601, or null when that is not
   * known.
   */
  show(position: SourcePosition): { text: string; time: string | null }
  /** Writes to the source. Absent when the kind cannot be written to. */
  readonly writer?: SourceWriter
}

/** Transactions of clients, applied to the source. No kind has it yet. */
export interface SourceWriter {
  close(): Promise<void>
}

export interface ConnectOptions<Settings> {
  /** A secret. */
  url: string
  settings: Settings
  /** The name under which the source knows this client. It belongs to this storage alone. */
  clientName: string
  /** The last `Prepared.identity`, or null before the first session. */
  identity: SourceIdentity | null
}

export interface SourceAddress {
  /** `host:port`; several are separated by commas. */
  host: string
  database: string
}

/** Identifies the database. Opaque to everyone but the kind. */
export type SourceIdentity = OpaqueState & { readonly [kept]?: 'identity' }
/**
 * A position after a whole transaction: that of its commit, or the one `beyond` it. Only such positions are
 * acknowledged.
 */
export type SourcePosition = OpaqueState & { readonly [kept]?: 'position' }
/** A place inside a transaction, after some of its events. It is stored beside the position before that transaction. */
export type SourcePlace = OpaqueState & { readonly [kept]?: 'place' }
/** How far the copy of a table has come. */
export type CopyCursor = OpaqueState & { readonly [kept]?: 'cursor' }
/** Values of a row that its next change may leave out, as strings, by names that the kind chooses. */
export type RowImage = Readonly<Record<string, string>>
/** The id of a transaction. Ids are not ordered by delivery: a later transaction may have a lower one. */
export type TxId = bigint
declare const kept: unique symbol

/** How far the stream is stored. Both members are null for a stream that begins now. */
export interface StreamedTo {
  readonly position: SourcePosition | null
  /** The place inside the transaction after `position`, or null when nothing of that transaction is stored. */
  readonly place: SourcePlace | null
}

/** A connection to the source, over as many sockets as the kind needs. Calls may run concurrently. */
export interface SourceConnection {
  /** What is reported to operators when a mark arrives that is not ours. */
  readonly foreignMark: string
  /** Resolves when everything that a session needs can be reached. Changes nothing. */
  check(call: Call): Promise<void>
  /** Returns tables and columns, for warnings about names. */
  schema(call: Call): Promise<SourceSchema>
  /** Returns those of these tables that could not be followed at the moment. Changes nothing. */
  examine(tables: readonly TableName[], columns: ReadColumns, call: Call): Promise<UnfollowableTable[]>
  /** Estimates how many rows the tables of these names have, for a deploy. */
  estimate(tables: readonly TableName[], call: Call): Promise<{ table: string; rows: number }[]>
  /** Asks everything that a session would ask, and changes nothing. */
  look(call: Call): Promise<SourceFacts>
  /**
   * Creates what following needs, and finds out whether the stream connects to what is stored. `call.deadlineMs` is
   * suspended while `report.waitsFor` says that the source waits for somebody else.
   */
  prepare(wanted: PrepareWanted, report: SourceReport, call: Call): Promise<Prepared>
  /**
   * Resolves when the mark is committed. It comes back through the stream after everything that was committed before
   * the call. The caller authenticates the text, because anybody may write such marks; the kind only passes it on.
   */
  mark(text: string, call: Call): Promise<void>
  /**
   * Returns the state of what the source keeps for us, or null when it keeps nothing. `before` is the state that the
   * last call returned, or null before the first one.
   */
  health(before: HealthState | null, call: Call): Promise<SourceHealth | null>
  /** Deletes what the source keeps for us. The next `prepare` finds it missing. */
  forget(call: Call): Promise<void>
  /** Returns which database this is: equal values are the same one, whatever its address. */
  identify(call: Call): Promise<OpaqueState>
  /** Everything that Rockpool made in the source goes, for good. What its owner made stays. */
  leave(call: Call): Promise<void>
  readonly reader: TableReader
  /**
   * Never rejects, and takes at most `withinMs` milliseconds; 0 closes at once. Calls that wait for an answer reject.
   */
  close(withinMs: number): Promise<void>
}

export interface SourceSchema {
  tables: {
    schema: string
    name: string
    columns: string[]
    key: string[]
    /** Columns whose values are always of one kind, with the name of their type. */
    types: Record<string, { name: string; kind: 'number' | 'text' | 'bytes' }>
  }[]
}

/** The columns of a table that sync configs read. */
export interface WantedColumns {
  /** All columns but those of bytes, which clients are never sent. */
  all: boolean
  read: ReadonlySet<string>
  /** Columns that the table must have. */
  named: ReadonlySet<string>
}
/** Returns what is read of the table with these names. */
export type ReadColumns = (names: readonly TableName[]) => WantedColumns

export interface UnfollowableTable {
  name: TableName
  /** `schema.name` */
  table: string
  reason: string
}

/** A table of the sync config that is not followed, or not completely. */
export interface RefusedTable extends UnfollowableTable {
  /**
   * True when its rows can no longer be read, and are removed. False when something is wrong with it, and its rows
   * stay.
   */
  gone: boolean
  /** All names under which it may be read. */
  names: TableName[]
}

export interface PrepareWanted {
  tables: readonly TableName[]
  columns: ReadColumns
  /** The stored identity. */
  identity: SourceIdentity | null
  at: StreamedTo
  /** Start over: what the source kept for us before this connection is deleted first. */
  fresh: boolean
}

export interface SourceReport {
  /** Reports a problem to operators. */
  problem(problem: SourceProblem): void
  /** Reports what a call waits for, in words; null when it no longer waits. */
  waitsFor(what: string | null): void
}

export interface Prepared {
  /** Is stored, and passed to the next connection. */
  readonly identity: SourceIdentity
  /** Why everything is compared again, or null when the stream continues after `at`. */
  readonly resync: Resync | null
  readonly tables: readonly SourceTable[]
  readonly refused: readonly RefusedTable[]
  /** True when the source has only now begun to keep something for us. */
  readonly isNew: boolean
  /** Milliseconds without a session after which the source forgets us; 0 means never. */
  readonly expiresMs: number
  /**
   * Returns false when definitions have changed since `prepare`. Called every few seconds, and when the stream says
   * `unexpected`.
   */
  isCurrent(call: Call): Promise<boolean>
  /**
   * Delivers exactly what comes after `at`, also from the middle of a transaction, regardless of which tables were
   * followed when `at` was stored. It proves that this is the stream that was stored: another transaction at the same
   * place, or none, ends it with ROCKPOOL_SOURCE_CHANGED. `sink` is called synchronously, and what it throws ends the
   * stream. `bytes` is the approximate size of the event.
   *
   * After a position `beyond` a transaction, nothing of that transaction comes. The stream is proved by the source
   * itself, which has heard of just that position. If it has not, because the acknowledgement was lost, it is told
   * again, and the stream ends with ROCKPOOL_SOURCE_UNREACHABLE.
   */
  open(at: StreamedTo, sink: (event: SourceEvent, bytes: number) => void, call: Call): Promise<SourceStream>
}

export interface Resync {
  reason: string
  /** The problem to report when what the source kept for us is lost, else null. */
  lost: SourceProblem | null
}

/** A table that is followed. The kind recognises it by this object. */
export interface SourceTable extends TableName {
  /** Its own name and the others under which its rows may be read. */
  readonly names: readonly TableName[]
  /** Changes with any change of its definition. */
  readonly fingerprint: string
  /** Describes what keys are made of. Keys that were made differently cannot be compared with these. */
  readonly keys: string
  /** True when it has no key: equal rows share one key, and are counted. */
  readonly counted: boolean
  /** Returns how far a copy has come. `done` is 0 to 1; `units` are units of the kind. */
  progress(cursor: CopyCursor): { done: number; units: { done: number; of: number } }
  /** Returns the image without the values that are no longer read. */
  readImage(image: RowImage): RowImage
}

/** An event of the stream. `at` and `beyond` are computed when they are read. */
export type SourceEvent =
  /**
   * `at` is the place before the first event that follows. `beyond` is a position after the transaction: once it is
   * acknowledged, the source does not send the transaction again.
   */
  | { readonly kind: 'begin'; readonly tx: TxId; readonly at: SourcePlace; readonly beyond: SourcePosition }
  /**
   * The source sent a change that is not delivered, because it is stored or its table is not followed. `whole` is true
   * when its whole transaction is stored: then it comes outside of one, and `beyond` is after all that is stored.
   */
  | { readonly kind: 'passed'; readonly whole: boolean; readonly beyond: SourcePosition }
  | RowChange
  | { readonly kind: 'truncate'; readonly tables: readonly SourceTable[]; readonly at: SourcePlace }
  | { readonly kind: 'mark'; readonly text: string; readonly at: SourcePlace }
  | { readonly kind: 'commit'; readonly position: SourcePosition }
  /**
   * The stream describes a table otherwise than `prepare` did. Null: one that is not followed. `lacking`: its changes
   * are left out from here on.
   */
  | { readonly kind: 'unexpected'; readonly table: SourceTable | null; readonly lacking: boolean }

/** A change of a row, decoded on demand. */
export interface RowChange {
  readonly kind: 'change'
  readonly op: 'insert' | 'update' | 'delete'
  readonly table: SourceTable
  /** The key of the row after the change, or of the deleted row. */
  readonly key: string
  /** The key of the row before an update, or null when the key has not changed. */
  readonly before: string | null
  /**
   * True when the stream describes the table differently from `prepare`: stored images of its rows may be of other
   * columns.
   */
  readonly altered: boolean
  readonly at: SourcePlace
  /**
   * Returns the row after the change, or null when the source left out values that neither the change nor the image
   * `kept` has. Not for a delete.
   */
  read(kept: () => RowImage | null): DecodedRow | null
  /** Returns the values that the change carries. Not for a delete. */
  sent(): SentValues
}

export interface DecodedRow {
  row: SourceRow
  /** What to store for the next change, or null when the source never leaves out a value of such a row. */
  image: RowImage | null
}

/** Values by column, in the form in which the kind holds them. */
export type ColumnValues = ReadonlyMap<string, unknown>
export interface SentValues {
  values: ColumnValues
  /** True when nothing was left out. */
  whole: boolean
}

export interface SourceStream {
  /** Stops events until `resume`. The source still hears that we are alive. */
  pause(): void
  resume(): void
  /**
   * Everything up to this position is durable, so the source may forget what is before it. The last transaction is
   * sent again to the next stream, unless the position is `beyond` it. After such a position this stream is of no use
   * any more.
   */
  acknowledge(position: SourcePosition): void
  /** Returns how much the source has after a position, as last heard, or null when that is not known. */
  lag(position: SourcePosition | null): SourceLag | null
  /** Rejects with the reason when the stream ends; resolves when it was closed. */
  readonly ended: Promise<void>
  /** The source has heard of what was acknowledged, as far as it answers. */
  close(): Promise<void>
}

export interface SourceLag {
  bytes?: number
  seconds?: number
  /**
   * True when so much that is not ours follows the position that a mark would be worthwhile: it lets the source forget
   * it.
   */
  nudge: boolean
}

/** What a kind needs to remember of its last answer. */
export type HealthState = OpaqueState
export interface SourceHealth {
  /** `much`: near a limit. `over`: beyond it. `lost`: the source delivers nothing any more. */
  level: 'ok' | 'much' | 'over' | 'lost'
  /** True when acknowledging a mark would let the source forget something. */
  nudge: boolean
  /**
   * Why what the source keeps must be dropped, and everything compared again: it is more than the settings allow. Else
   * null.
   */
  drop: SourceProblem | null
  /** Problems to report. */
  problems: readonly SourceProblem[]
  /** Shown to operators, and passed to the next call. */
  state: HealthState
}

/** What `SourceConnection.look` has found. */
export interface SourceFacts {
  /** The version of the server, for people. */
  version: string
  /** Like `SourceConnection.health`, as of the look. */
  health(before: HealthState | null): SourceHealth | null
  /**
   * Returns why nothing can be delivered, or why everything will be compared; null when all is well. `settled` says
   * that no session was running, so that what is stored is what the source was sent.
   */
  problem(identity: SourceIdentity | null, at: StreamedTo, settled: boolean): SourceProblem | null
}

/** Says which transactions a read has seen. */
export interface TxView {
  sees(tx: TxId): boolean
  /** Whether it sees this transaction and all with a lower id. */
  seesAllUpTo(tx: TxId): boolean
}

/**
 * Reads rows beside the stream. A read says which transactions it has seen. What it has not seen comes through the
 * stream. Each of its calls throws `SourceBusy` when it may be repeated later.
 */
export interface TableReader {
  /**
   * Resolves when every transaction that the stream of this or an earlier session could have delivered before the call
   * is visible to reads.
   */
  ready(wait: ReadyWait, call: Call): Promise<void>
  /**
   * Returns where the copy of a table begins. `before` is how far an earlier copy had come when `rewritten` ended it;
   * `resumed` says that parts which that one had finished are left out.
   */
  begin(table: SourceTable, before: CopyCursor | null, call: Call): Promise<{ cursor: CopyCursor; resumed: boolean }>
  /** Returns the next rows, about `budget` of them. */
  chunk(table: SourceTable, cursor: CopyCursor, budget: ReadBudget, call: Call): Promise<Chunk>
  /**
   * Returns rows by key; missing ones are left out. `cut` says that the caller must ask for fewer keys. With `keys`
   * only the keys of the rows are read.
   */
  rows(table: SourceTable, keys: readonly string[], what: 'rows' | 'keys', call: Call): Promise<Rows & { cut: boolean }>
}

export interface ReadyWait {
  /** Waits, and rejects when the session is over. */
  pause(milliseconds: number): Promise<void>
  waitsFor(what: string | null): void
  /** Called during the wait: transactions that `view` sees need not be remembered. */
  seen(view: TxView): void
}

export interface ReadBudget {
  rows: number
  /** In UTF-16 units. */
  length: number
}

export interface Rows {
  readonly rows: readonly ReadRow[]
  /** In UTF-16 units. */
  readonly length: number
  readonly view: TxView
}

export interface ReadRow {
  readonly key: string
  /** Decodes the row. `newer` has values that have arrived through the stream since the read. */
  decode(newer?: ColumnValues): DecodedRow
}

export type Chunk =
  | { kind: 'rows'; read: Rows; next: CopyCursor; range: KeyRange | null }
  /** Nothing was read: it goes on here. */
  | { kind: 'more'; next: CopyCursor }
  /**
   * The table was rewritten, so rows of before may be gone: its copy begins again, and rows that we have are looked for
   * in it.
   */
  | { kind: 'rewritten' }
  | { kind: 'end' }

/**
 * For a counted table: the read holds all copies of the rows whose keys are in this range, which includes `from`. Keys
 * are compared by UTF-16 units.
 */
export interface KeyRange {
  from: string
  to: string | null
}

/** Thrown when somebody else holds what a read needs. The read may be repeated after a while. */
export class SourceBusy extends Error {
  override readonly name = 'SourceBusy'
}
