import type { SourceLag } from '../../../sources/source.ts'
import type { Committer } from '../commit/committer.ts'
import type { Dispatcher } from '../commit/dispatcher.ts'
import type { Fencing } from '../commit/fencing.ts'
import type { Drops } from '../deploy/drops.ts'
import type { Batches } from '../ingest/batches.ts'
import type { Care } from '../ingest/care.ts'
import type { Marks } from '../ingest/marks.ts'
import type { Tidying } from '../tidy/tidying.ts'
import type { Verification } from '../verify/verification.ts'
import type { PreparePorts } from './prepare.ts'

/** The parts of the replicator that a session uses. They live longer than it does. */
export interface SessionParts extends PreparePorts {
  committer: Committer
  appends: Pick<Dispatcher, 'limit'>
  batches: Batches
  care: Care
  marks: Marks
  drops: Drops
  tidying: Tidying
  verification: Verification
  fencing: Fencing
}

/** What operators see of a session. */
export interface SessionStatus {
  /** ISO 8601. */
  since: string
  /** Row changes that were taken in. */
  changes: number
  /** Changes in memory that are not stored, now and at most. */
  held: number
  peakHeld: number
  /** The stream is open. */
  streaming: boolean
  waitingFor: string | null
  /** What comes after the stored position; null when that is not known. */
  lag: SourceLag | null
}
