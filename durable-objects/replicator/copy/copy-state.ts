import type { CopyCursor } from '../../../sources/source.ts'
import { bareState, BARE_START, fromStored, toStored, type OpaqueState, type StateForm, type StoredState } from '../../../sources/stored.ts'

/**
 * Where the copy of a table is, as it is stored. `sweep`: after its chunks, rows that we have are looked for in the table. An earlier version stored a cursor bare, with its
 * members beside these.
 */
export interface CopyState {
  /** `retired`: the table is not followed any more, and its rows are taken out of the buckets. */
  state: 'waiting' | 'copying' | 'sweeping' | 'done' | 'retired'
  /** How far the part of the table is that is being read, in units of the source. For people. */
  block: number
  blocks: number
  rows: number
  sweep: boolean
  /** The sweep has come to this key. */
  after: string
  /** Until this copy is done, what is stored of its rows may be of other columns, or older than what the stream has told: it was altered, or a slot was lost. */
  altered?: boolean | undefined
  /** Until this copy is done, what is stored of its rows may be of no state of the source. Absent in what an earlier version stored. */
  doubtful?: boolean | undefined
  /** How far the source has read the table. Absent before it has begun. */
  cursor?: StoredState | undefined
  [ofBareCursor: string]: unknown
}

/** Where every copy begins. */
export const newCopy = (sweep: boolean): CopyState => ({ ...NEW_COPY, sweep })

/** What an earlier version compared was swept as well. */
export const isDoubtful = ({ state, sweep, doubtful = sweep }: CopyState): boolean => state !== 'done' && doubtful

export const NEW_COPY: CopyState = { state: 'waiting', block: 0, blocks: 0, rows: 0, sweep: false, after: '' }

/** The cursor of a table that is being read, for people: whose it is was looked at when the session began. */
export const bareCursor = (copy: CopyState): CopyCursor => bareState(copy.cursor ?? copy)

/** How far the source has read the table; null: nothing is read. `foreign`: another kind, or version of it, has read it. */
export function cursorOf(form: StateForm, copy: CopyState): { cursor: CopyCursor | null } | { foreign: string } {
  const { state, cursor, ...others } = copy
  if (state !== 'copying' && cursor === undefined && isStart(others)) return { cursor: null }
  const { rows: _rows, sweep: _sweep, after: _after, altered: _altered, doubtful: _doubtful, ...bare } = others
  const found = fromStored(form, cursor ?? bare)
  return 'foreign' in found ? found : { cursor: found.value }
}

const isStart = (copy: OpaqueState): boolean => Object.entries(BARE_START).every(([name, value]) => (copy[name] ?? value) === value)

/** Returns the copy with a cursor; `units`: see `SourceTable.progress`. Members of a bare cursor are left out. */
export function withCursor(form: StateForm, copy: CopyState, cursor: CopyCursor, units: { done: number; of: number }): CopyState {
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
