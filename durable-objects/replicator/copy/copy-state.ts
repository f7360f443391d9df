import type { CopyCursor } from '../../../sources/source.ts'
import {
  bareState,
  BARE_START,
  fromStored,
  toStored,
  type OpaqueState,
  type StateForm,
  type StoredState,
} from '../../../sources/stored.ts'

/** Progress of the copy of a table, as it is stored. An earlier version stored the members of a cursor beside these. */
export interface CopyState {
  /** `retired`: the table is not followed any more, and its rows are removed from the buckets. */
  state: 'waiting' | 'copying' | 'sweeping' | 'done' | 'retired'
  /** How far the part of the table that is being read is, in units of the source. For people. */
  block: number
  blocks: number
  /** Rows that were read. */
  rows: number
  /** After its chunks, rows that we have are looked for in the table. */
  sweep: boolean
  /** The sweep has reached this key. */
  after: string
  /**
   * Until this copy is done, what is stored of the table's rows may have other columns, or be older than the stream: it
   * was altered, or a slot was lost.
   */
  altered?: boolean | undefined
  /**
   * Until this copy is done, what is stored of the table's rows may be no state of the source. Missing in what an
   * earlier version stored.
   */
  doubtful?: boolean | undefined
  /** How far the source has read the table. Absent before it has begun. */
  cursor?: StoredState | undefined
  [ofBareCursor: string]: unknown
}

/** Returns the state in which every copy begins. */
export const newCopy = (sweep: boolean): CopyState => ({ ...NEW_COPY, sweep })

/** An earlier version stored no `doubtful`; what it compared was swept as well. */
export const isDoubtful = ({ state, sweep, doubtful = sweep }: CopyState): boolean => state !== 'done' && doubtful

export const NEW_COPY: CopyState = { state: 'waiting', block: 0, blocks: 0, rows: 0, sweep: false, after: '' }

/** Returns the cursor of a table that is being read, for people. Its kind was checked when the session began. */
export const bareCursor = (copy: CopyState): CopyCursor => bareState(copy.cursor ?? copy)

/**
 * Returns how far the source has read the table, or null when nothing is read. `foreign`: another kind, or another
 * version of it, has read it.
 */
export function cursorOf(form: StateForm, copy: CopyState): { cursor: CopyCursor | null } | { foreign: string } {
  const { state, cursor, ...others } = copy
  if (state !== 'copying' && cursor === undefined && isStart(others)) return { cursor: null }
  const { rows: _rows, sweep: _sweep, after: _after, altered: _altered, doubtful: _doubtful, ...bare } = others
  const found = fromStored(form, cursor ?? bare)
  return 'foreign' in found ? found : { cursor: found.value }
}

const isStart = (copy: OpaqueState): boolean =>
  Object.entries(BARE_START).every(([name, value]) => (copy[name] ?? value) === value)

/** Returns the copy with a cursor; `units`: see `SourceTable.progress`. Members of a bare cursor are left out. */
export function withCursor(
  form: StateForm,
  copy: CopyState,
  cursor: CopyCursor,
  units: { done: number; of: number },
): CopyState {
  const { state, rows, sweep, after, altered, doubtful } = copy
  return {
    state,
    block: units.done,
    blocks: units.of,
    rows,
    sweep,
    after,
    ...(altered !== undefined && { altered }),
    ...(doubtful !== undefined && { doubtful }),
    cursor: toStored(form, cursor),
  }
}
