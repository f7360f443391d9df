import type { DiagnosticCode } from '../protocol/diagnostics.ts'
import type { TableName } from '../protocol/tables.ts'
import type { SourceRow } from '../protocol/values.ts'
import type { OpaqueState, StateForm } from './stored.ts'

// The port of sources: all that the replicator knows of a database that it follows. `sources/postgres` and `sources/memory` implement it, `registry.ts` lists
// the kinds, and `contract.ts` has the tests that each of them must pass. Errors are RockpoolErrors: ROCKPOOL_SOURCE_UNREACHABLE is tried again,
// ROCKPOOL_SOURCE_SETTINGS waits for somebody, and ROCKPOOL_SOURCE_CHANGED means that everything is compared again.
// It is one file, because who writes a kind reads it from the beginning to the end.

/**
 * What every call gets. A call that is not answered within `deadlineMs` rejects with ROCKPOOL_SOURCE_UNREACHABLE, and the connection is closed: whoever
 * needs one makes another. One whose signal is aborted rejects as well.
 */
export interface Call {
  readonly signal: AbortSignal
  /** From when the call begins. */
  readonly deadlineMs: number
}

/** Something that operators are told. */
export interface SourceProblem {
  code: DiagnosticCode
  reason: string
}

/** A kind of database. `Settings` are the settings of a tenant that it reads. */
export interface SourceKind<Settings> extends StateForm {
  /** Of the URL, without the colon. */
  readonly schemes: readonly string[]
  /** Nothing is opened before the first call. Throws ROCKPOOL_SETTINGS when URL or settings cannot be used. */
  connect(options: ConnectOptions<Settings>): SourceConnection
  /** The URL and what it means, for operators: neither user nor password. Null when it cannot be read. */
  address(url: string, identity: SourceIdentity | null): SourceAddress | null
  /** A position for people, and when its transaction was committed, ISO 8601. */
  show(position: SourcePosition): { text: string; time: string | null }
  /** How a kind is written to. Absent: it cannot be. */
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
  /** By which the source knows us: that of this storage alone. */
  clientName: string
  /** What `Prepared.identity` was last; null before the first session. */
  identity: SourceIdentity | null
}

export interface SourceAddress {
  /** `host:port`, several with commas between them. */
  host: string
  database: string
}

/** Which database it is, as the kind tells it. */
export type SourceIdentity = OpaqueState & { readonly [kept]?: 'identity' }
/** Behind a transaction. It alone is acknowledged. */
export type SourcePosition = OpaqueState & { readonly [kept]?: 'position' }
/** Behind some events of a transaction. It is stored beside the position before that transaction. */
export type SourcePlace = OpaqueState & { readonly [kept]?: 'place' }
/** How far the reading of a table is. */
export type CopyCursor = OpaqueState & { readonly [kept]?: 'cursor' }
/** Texts of a row that its next change may leave out, by names that the kind gives them. */
export type RowImage = Readonly<Record<string, string>>
/** Of a transaction. Of two that the stream delivers one after the other either may be the higher one. */
export type TxId = bigint
declare const kept: unique symbol

/** How far the stream was taken in. Both null: from now on. */
export interface StreamedTo {
  readonly position: SourcePosition | null
  /** Inside the transaction after `position`; null: nothing of it is stored. */
  readonly place: SourcePlace | null
}

/** One connection: what it needs of sockets is its own business. Calls may be made at the same time. */
export interface SourceConnection {
  /** What operators are told when a mark comes that is not ours. */
  readonly foreignMark: string
  /** Everything that a session needs can be reached. Changes nothing. */
  check(call: Call): Promise<void>
  /** Tables and columns, for warnings about names. */
  schema(call: Call): Promise<SourceSchema>
  /** Which of these tables could not be followed as things are. Changes nothing. */
  examine(tables: readonly TableName[], columns: ReadColumns, call: Call): Promise<UnfollowableTable[]>
  /** About how many rows the tables of these names have, for a deploy. */
  estimate(tables: readonly TableName[], call: Call): Promise<{ table: string; rows: number }[]>
  /** Looks at everything that a session would ask, and changes nothing. */
  look(call: Call): Promise<SourceFacts>
  /**
   * Makes what following needs, and says whether the stream connects to what is stored. `call.deadlineMs` does not count while `report.waitsFor` says
   * that others are waited for.
   */
  prepare(wanted: PrepareWanted, report: SourceReport, call: Call): Promise<Prepared>
  /**
   * Resolves when the mark is committed. It comes back through the stream behind everything that was committed before the call. The text is authenticated by whoever
   * gives it: the kind passes it on, and others may write such marks too.
   */
  mark(text: string, call: Call): Promise<void>
  /** What the source keeps for us. `before`: what this answered last; null: it never did. Null: it keeps nothing. */
  health(before: HealthState | null, call: Call): Promise<SourceHealth | null>
  /** What the source keeps for us goes: the next `prepare` finds it missing. */
  forget(call: Call): Promise<void>
  readonly reader: TableReader
  /** Never rejects, and takes no longer than `withinMs`, 0 for at once. Calls that wait for an answer reject. */
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

/** Columns of a table that somebody reads. */
export interface WantedColumns {
  /** All, but for bytes: clients are never sent any. */
  all: boolean
  read: ReadonlySet<string>
  /** Those that it must have. */
  named: ReadonlySet<string>
}
/** What is read of the table that goes by these names. */
export type ReadColumns = (names: readonly TableName[]) => WantedColumns

export interface UnfollowableTable {
  name: TableName
  /** `schema.name` */
  table: string
  reason: string
}

/** A table of the sync config that is not followed, or not with all that it has. */
export interface RefusedTable extends UnfollowableTable {
  /** Its rows are no longer to be had, and go. False: something is wrong with it, and its rows stay. */
  gone: boolean
  /** What it goes by. */
  names: TableName[]
}

export interface PrepareWanted {
  tables: readonly TableName[]
  columns: ReadColumns
  /** What is stored. */
  identity: SourceIdentity | null
  at: StreamedTo
  /** Begin anew: what the source kept for us before this connection goes first. */
  fresh: boolean
}

export interface SourceReport {
  /** Told to operators. */
  problem(problem: SourceProblem): void
  /** Whom a call waits for, for people; null: for nobody any more. */
  waitsFor(what: string | null): void
}

export interface Prepared {
  /** To be stored, and given to the next connection. */
  readonly identity: SourceIdentity
  /** Null: the stream goes on behind `at`. Else why everything is compared again. */
  readonly resync: Resync | null
  readonly tables: readonly SourceTable[]
  readonly refused: readonly RefusedTable[]
  /** The source began to keep something for us just now. */
  readonly isNew: boolean
  /** After how long without a session the source forgets us; 0 = never. */
  readonly expiresMs: number
  /** False: definitions are others than those that were prepared. Asked now and then, and when the stream says `unexpected`. */
  isCurrent(call: Call): Promise<boolean>
  /**
   * Delivers exactly what comes behind `at`, also from the middle of a transaction, whatever tables were followed when it was stored. It proves that this is the stream
   * that was stored: another transaction at the same place, or none, ends it with ROCKPOOL_SOURCE_CHANGED. `sink` is called synchronously, and what it throws ends the
   * stream. `bytes`: about the size of the event.
   */
  open(at: StreamedTo, sink: (event: SourceEvent, bytes: number) => void, call: Call): Promise<SourceStream>
}

export interface Resync {
  reason: string
  /** What the source kept for us is lost, which is a problem of its own. */
  lost: SourceProblem | null
}

/** A table that is followed. The kind knows it by this object. */
export interface SourceTable extends TableName {
  /** Its own name and others under which its rows may be read. */
  readonly names: readonly TableName[]
  /** Changes with any change of its definition. */
  readonly fingerprint: string
  /** What keys are made of. Keys of another kind cannot be compared with these. */
  readonly keys: string
  /** It has no key: equal rows have one key, and are counted. */
  readonly counted: boolean
  /** How far a copy is. `units` are those of the kind. */
  progress(cursor: CopyCursor): { done: number; units: { done: number; of: number } }
  /** An image without what is not read any more. */
  readImage(image: RowImage): RowImage
}

/** `at` is made when it is read. */
export type SourceEvent =
  /** `at`: before the first event that follows. */
  | { readonly kind: 'begin'; readonly tx: TxId; readonly at: SourcePlace }
  | RowChange
  | { readonly kind: 'truncate'; readonly tables: readonly SourceTable[]; readonly at: SourcePlace }
  | { readonly kind: 'mark'; readonly text: string; readonly at: SourcePlace }
  | { readonly kind: 'commit'; readonly position: SourcePosition }
  /** The stream describes a table otherwise than `prepare` did. Null: one that is not followed. `lacking`: its changes are left out from here on. */
  | { readonly kind: 'unexpected'; readonly table: SourceTable | null; readonly lacking: boolean }

/** A change of a row, decoded when it is asked for. */
export interface RowChange {
  readonly kind: 'change'
  readonly op: 'insert' | 'update' | 'delete'
  readonly table: SourceTable
  /** Of the row as it is now, or of the one that is gone. */
  readonly key: string
  /** Of the row as an update found it; null: the key is the same. */
  readonly before: string | null
  /** The table is described otherwise than by `prepare`: what was kept of its rows may be of other columns. */
  readonly altered: boolean
  readonly at: SourcePlace
  /** The row as it is now; null when the source left out values that neither the change nor what was `kept` of the row has. Not for a delete. */
  read(kept: () => RowImage | null): DecodedRow | null
  /** What came of the row. Not for a delete. */
  sent(): SentValues
}

export interface DecodedRow {
  row: SourceRow
  /** To be kept for the next change; null: nothing is left out of a row like this. */
  image: RowImage | null
}

/** Values as the kind holds them, by column. */
export type ColumnValues = ReadonlyMap<string, unknown>
export interface SentValues {
  values: ColumnValues
  /** Nothing was left out. */
  whole: boolean
}

export interface SourceStream {
  /** No event comes until `resume`; the source is told that we are there all the same. */
  pause(): void
  resume(): void
  /** Everything up to here is durable: the source may forget what is before it. Never anything else than the position of a commit. */
  acknowledge(position: SourcePosition): void
  /** What there is behind a position, as was heard last; null: nothing was heard, or it is not known. */
  lag(position: SourcePosition | null): SourceLag | null
  /** Rejects with the reason when the stream has ended; resolves when it was closed. */
  readonly ended: Promise<void>
  close(): Promise<void>
}

export interface SourceLag {
  bytes?: number
  seconds?: number
  /** So much of others lies behind the position that a mark would let the source forget it. */
  nudge: boolean
}

/** What a kind has to know of its last answer. */
export type HealthState = OpaqueState
export interface SourceHealth {
  /** `much`: near a limit. `over`: beyond it. `lost`: nothing comes from it any more. */
  level: 'ok' | 'much' | 'over' | 'lost'
  /** A mark, acknowledged, would let the source forget something. */
  nudge: boolean
  /** More is kept than the settings allow: it is to be forgotten, and everything compared again. Why, for people. */
  drop: SourceProblem | null
  /** To be told. */
  problems: readonly SourceProblem[]
  /** For operators, and for the next question. */
  state: HealthState
}

/** What a look has found. */
export interface SourceFacts {
  /** Of the server, for people. */
  version: string
  /** As `SourceConnection.health`. */
  health(before: HealthState | null): SourceHealth | null
  /** Why nothing can come, or everything will be compared; null: all is well. `settled`: no session was under way, so what is stored is what the source was told. */
  problem(identity: SourceIdentity | null, at: StreamedTo, settled: boolean): SourceProblem | null
}

/** Which transactions a read has seen. */
export interface TxView {
  sees(tx: TxId): boolean
  /** It sees this one and all with a lower id. */
  seesAllUpTo(tx: TxId): boolean
}

/**
 * Reading rows beside the stream. A read says which transactions it has seen; what it has not seen is left out at its place in the stream. Each of its calls
 * throws `SourceBusy` when it may be made again later.
 */
export interface TableReader {
  /** Resolves when every transaction is visible that the stream, of this session or an earlier one, could have delivered before the call. */
  ready(wait: ReadyWait, call: Call): Promise<void>
  /** Where the copy of a table begins. `before`: how far an earlier one was when `rewritten` ended it; parts that it had finished may be left out. */
  begin(table: SourceTable, before: CopyCursor | null, call: Call): Promise<{ cursor: CopyCursor; resumed: boolean }>
  /** The next rows, about `budget`. */
  chunk(table: SourceTable, cursor: CopyCursor, budget: ReadBudget, call: Call): Promise<Chunk>
  /** Rows by key; those that are not there are left out. `cut`: fewer keys must be asked for. `keys`: nothing but their keys is wanted. */
  rows(table: SourceTable, keys: readonly string[], what: 'rows' | 'keys', call: Call): Promise<Rows & { cut: boolean }>
}

export interface ReadyWait {
  /** Waits; rejects when the session is over. */
  pause(milliseconds: number): Promise<void>
  waitsFor(what: string | null): void
  /** Called meanwhile: transactions that are seen need not be remembered. */
  seen(view: TxView): void
}

export interface ReadBudget {
  rows: number
  /** UTF-16 units. */
  length: number
}

export interface Rows {
  readonly rows: readonly ReadRow[]
  /** UTF-16 units. */
  readonly length: number
  readonly view: TxView
}

export interface ReadRow {
  readonly key: string
  /** `newer`: values that have come by the stream since. */
  decode(newer?: ColumnValues): DecodedRow
}

export type Chunk =
  | { kind: 'rows'; read: Rows; next: CopyCursor; range: KeyRange | null }
  /** Nothing was read: it goes on here. */
  | { kind: 'more'; next: CopyCursor }
  /** The table was rewritten, so rows of before may be gone: its copy begins again, and rows that we have are looked for in it. */
  | { kind: 'rewritten' }
  | { kind: 'end' }

/** Of a counted table: the read holds all copies of the rows whose keys lie here, `from` among them. Texts are compared by UTF-16 units. */
export interface KeyRange {
  from: string
  to: string | null
}

/** Somebody else holds what a read needs: it may be tried again in a while. */
export class SourceBusy extends Error {
  override readonly name = 'SourceBusy'
}
