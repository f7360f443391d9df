/** Where the copy of a table is. `sweep`: after its blocks, rows that we have are looked for in the table. */
export interface CopyState {
  /** `retired`: the table is not followed any more, and its rows are taken out of the buckets. */
  state: 'waiting' | 'copying' | 'sweeping' | 'done' | 'retired'
  filenode: number
  /** Which of the table's parts is copied. */
  part?: number
  /** Blocks of the part; of a table without a key classes of hashes. */
  block: number
  /** Of the block, from which it goes on; absent: from its beginning. */
  item?: number
  blocks: number
  rows: number
  sweep: boolean
  /** The sweep has come to this key. */
  after: string
  /** Until this copy is done, what is stored of its rows may be of other columns, or older than what the stream has told: it was altered, or a slot was lost. */
  altered?: boolean
  /** Until this copy is done, what is stored of its rows may be of no state of the source. Absent in what an earlier version stored. */
  doubtful?: boolean
}

/** Where every copy begins. */
export const newCopy = (sweep: boolean): CopyState => ({ ...NEW_COPY, sweep })

/** What an earlier version compared was swept as well. */
export const isDoubtful = ({ state, sweep, doubtful = sweep }: CopyState): boolean => state !== 'done' && doubtful

export const NEW_COPY: CopyState = { state: 'waiting', filenode: 0, part: 0, block: 0, blocks: 0, rows: 0, sweep: false, after: '' }
