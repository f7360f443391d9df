import type { Difference } from '../../../protocol/verification.ts'
import { faultPoint } from '../../shared/fault-points.ts'
import type { Batch } from '../ingest/batch.ts'
import { betweenTransactions } from '../ingest/between-transactions.ts'
import type { Intake } from '../ingest/intake.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import { MAILBOX_TABLE } from '../writes/mailboxes.ts'
import type { RowState } from '../store/row-state.ts'
import type { BucketRepair } from './bucket-check.ts'
import type { OpDifference } from './bucket-differences.ts'
import type { BucketRange, Expected } from './expectation.ts'
import type { SessionAccess } from './session-access.ts'

export interface BucketRepairPorts {
  /** Differences are repaired, and not only reported. */
  repairs: boolean
  report(difference: Difference): void
  tableText(t: number): string
  /** The table is read again as a whole. */
  copyAgain(table: FollowedTable): void
  /** One step of making the totals of a bucket fit its ops. */
  mendTotals(bucket: string): Promise<'more' | 'done'>
}

/**
 * Reports differences in a bucket, and repairs them. A row that only the bucket has is removed. For one that the bucket
 * lacks, or holds in another version, row state is made to say what the bucket holds, and the row is queued like one
 * that lacks values. It is then read again from the source, and what that puts into the bucket is the difference. A row
 * that got an op meanwhile needs no repair.
 */
export function bucketRepair(session: SessionAccess, ports: BucketRepairPorts): BucketRepair {
  const { tables } = session
  const { repairs, report, tableText, copyAgain, mendTotals } = ports

  /** Returns `left` when the row cannot be repaired, because its table is not followed now. */
  function repairRow(
    batch: Batch,
    settle: Intake['settle'],
    range: BucketRange,
    { key, ref, hash }: OpDifference,
  ): 'mended' | 'left' {
    const [type = '', id = '', subkey = ''] = JSON.parse(key) as string[]
    if (ref === null) {
      batch.removeStray({ bucket: range.bucket, type, id, subkey })
      return 'mended'
    }
    if (ref.t === MAILBOX_TABLE.number) {
      const outputs = batch.state(MAILBOX_TABLE, ref.key)?.outputs ?? []
      const lacking = outputs.find((output) => output.bucket === range.bucket && output.id === id)
      if (lacking) batch.redeliver(lacking)
      return lacking ? 'mended' : 'left'
    }
    const table = tables.find(({ number }) => number === ref.t)
    const state = table && batch.state(table, ref.key)
    if (!table || !state) return 'left'
    batch.restate(table, ref.key, asHeld(state, range.bucket, type, id, hash))
    // Rows of a counted table cannot be read by their keys.
    if (table.source.counted) copyAgain(table)
    else settle(table, ref.key, true)
    return 'mended'
  }

  function reportRow(range: BucketRange, { code, ref, key, reason }: OpDifference, mended: boolean): void {
    const left = repairs && !mended ? '; its table is not followed now' : ''
    report({
      code,
      table: ref === null ? null : tableText(ref.t),
      key: ref?.key ?? JSON.stringify((JSON.parse(key) as string[]).slice(0, 2)),
      bucket: range.name,
      reason: reason + left,
      mended,
    })
  }

  return {
    async rows(range, differences, expected: Expected, isCurrent) {
      if (!repairs) {
        for (const each of differences) reportRow(range, each, expected.changed.has(each.key))
        return
      }
      await betweenTransactions(session, (batch, settle) => {
        faultPoint('verify.mend')
        if (!isCurrent()) return
        for (const each of differences) {
          const mended = expected.changed.has(each.key) || repairRow(batch, settle, range, each) === 'mended'
          reportRow(range, each, mended)
        }
      })
    },
    async totals(range, difference) {
      if (repairs) {
        while ((await mendTotals(range.name)) === 'more') await session.pause(0)
        await betweenTransactions(session, (batch) => batch.announce(range.bucket))
      }
      report({ ...difference, mended: repairs })
    },
  }
}

/**
 * Returns the row state that says of one output what the bucket holds. `hash` is null when the bucket holds nothing.
 */
function asHeld(state: RowState, bucket: number, type: string, id: string, hash: string | null): RowState {
  const outputs = state.outputs.flatMap((output) => {
    if (output.bucket !== bucket || output.type !== type || output.id !== id) return [output]
    return hash === null ? [] : [{ ...output, hash }]
  })
  return { ...state, outputs }
}
