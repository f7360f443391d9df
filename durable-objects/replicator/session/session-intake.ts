import { faultPoint } from '../../shared/fault-points.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import { Intake } from '../ingest/intake.ts'
import type { LeftTransaction } from '../ingest/intake-ports.ts'
import { careOf } from '../ingest/skipping.ts'
import type { TransactionLimit } from '../ingest/transaction-limit.ts'
import type { StateForm } from '../../../sources/stored.ts'
import { storedPlace, streamedTo } from './kept-state.ts'
import type { SessionMarks } from './session-marks.ts'
import type { SessionParts } from './session-parts.ts'
import type { SessionState } from './session-state.ts'

export interface SessionIntakePorts {
  parts: Pick<SessionParts, 'store' | 'batches' | 'care' | 'committer'>
  kind: StateForm
  sliceChanges: number
  limit: TransactionLimit
  /** A transaction is not read to its end. Nothing more is taken in. */
  left(transaction: LeftTransaction): void
  state: Pick<SessionState, 'assertOpen' | 'wake' | 'hasStoredChanges'>
  marks: Pick<SessionMarks, 'deliver' | 'committed'>
  /** Returns whether another batch may be stored. */
  hasRoom(): boolean
  /** A batch was stored. */
  stored(): void
  /** The stream describes a table differently from the catalog. */
  unexpected(): void
}

/** Makes the intake of a session: what comes through the stream is stored by the committer. */
export function sessionIntake(tables: readonly FollowedTable[], ports: SessionIntakePorts): Intake {
  const { kind, state, marks } = ports
  const { store, batches, care, committer } = ports.parts
  const { tables: known, rows } = store
  return new Intake(tables, streamedTo(kind, store), {
    sliceChanges: ports.sliceChanges,
    limit: ports.limit,
    left: (transaction) => {
      state.assertOpen()
      state.hasStoredChanges = true
      ports.left(transaction)
    },
    newBatch: () => batches.next(),
    store: ({ batch, position, place, incomplete }) => {
      state.assertOpen()
      if (batch.changes > 0) state.hasStoredChanges = true
      faultPoint('stream.flush')
      committer.store({ batch, incomplete, ...storedPlace(kind, { position, place }) })
      // Commits wait until rows that lack values are read.
      if (known.hasIncomplete) state.wake()
      ports.stored()
    },
    hasImages: (table) => known.hasImages(table),
    isIncomplete: (table, key) => known.isIncomplete(table.number, key),
    keys: (table, after, limit) => rows.keys(table.number, after, limit),
    deliver: (batch, text) => marks.deliver(batch, text),
    marker: (text) => marks.committed(text),
    room: () => ports.hasRoom(),
    hasIncomplete: () => known.hasIncomplete,
    unexpected: () => ports.unexpected(),
    care: careOf(care, store, false),
    lacking: (table) => {
      known.compare(table)
      committer.holdIfDoubtful()
    },
  })
}
