import type { SourcePosition } from '../../../sources/source.ts'
import type { StateForm } from '../../../sources/stored.ts'
import { faultPoint } from '../../shared/fault-points.ts'
import type { Committer } from '../commit/committer.ts'
import type { LeftTransaction } from '../ingest/intake-ports.ts'
import { PASSING_STARTS } from '../ingest/transaction-limit.ts'
import type { Store } from '../store/store.ts'
import { storedPlace } from './kept-state.ts'

export interface LeavePorts {
  store: Pick<Store, 'atomically' | 'state' | 'tables' | 'diagnostics'>
  committer: Pick<Committer, 'hold' | 'store'>
  kind: StateForm & { show(position: SourcePosition): { text: string } }
  /** TRANSACTION_ROWS. */
  most: number
}

/**
 * The stream goes on behind a transaction that is not read to its end, in one storage transaction with what follows
 * from that: what was not read may touch any row, so every table is compared, and what is stored of the transaction is
 * not served before that. One that is stored whole only does not have to come again.
 */
export function leaveTransaction(
  { store, committer, kind, most }: LeavePorts,
  { why, whole, position, batch }: LeftTransaction,
): void {
  const { state, tables, diagnostics } = store
  store.atomically(() => {
    state.set('passing', null)
    if (!whole) {
      const { text } = kind.show(position)
      const because =
        why === 'rows'
          ? `it has more than ${most} rows (TRANSACTION_ROWS)`
          : `${PASSING_STARTS} sessions ended before they came to what was new of it`
      diagnostics.add({
        code: 'ROCKPOOL_TRANSACTION_SKIPPED',
        reason: `the transaction at ${text} was not read to its end, and every table is compared: ${because}`,
      })
      committer.hold()
      tables.compareAll()
    }
    faultPoint('transaction.left')
    committer.store({ batch, incomplete: new Map(), ...storedPlace(kind, { position, place: null }) })
  })
  faultPoint('transaction.stored')
}
