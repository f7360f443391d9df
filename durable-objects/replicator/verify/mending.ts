import type { Difference } from '../../../protocol/verification.ts'
import { faultPoint } from '../../shared/fault-points.ts'
import type { Batch } from '../ingest/batch.ts'
import { between, type Pausing } from '../ingest/between.ts'
import type { Intake } from '../ingest/intake.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import { MAILBOX_TABLE } from '../writes/mailboxes.ts'
import type { RowState } from '../store/row-state.ts'
import type { Mending } from './bucket-check.ts'
import type { OpDifference } from './bucket-differences.ts'
import type { Expected, Unit } from './expectation.ts'

/** A session, as a comparison needs it. */
export interface Work extends Pausing {
  tables: readonly FollowedTable[]
  /** The session is about to end. */
  over(): boolean
}

export interface MendingPorts {
  repair: boolean
  found(difference: Difference): void
  tableName(t: number): string
  /** The table is read again as a whole. */
  copy(table: FollowedTable): void
  /** A step of making ops and totals of the bucket fit each other. True: there is more to do. */
  mend(bucket: string): Promise<boolean>
}

/**
 * Tells what a bucket holds otherwise, and mends it. A row that only the bucket has is removed. For one that the bucket lacks, or holds in another version, row
 * state is made to say what the bucket holds, and the row is read again from Postgres, as one of which a change lacked values: what it puts into the
 * bucket then is the difference. What got an op meanwhile is right by itself.
 */
export function mendingIn(work: Work, ports: MendingPorts): Mending {
  const { tables } = work
  const { repair, found, tableName, copy, mend } = ports

  function mendRow(batch: Batch, settle: Intake['settle'], unit: Unit, { key, ref, hash }: OpDifference): boolean {
    const [type = '', id = '', subkey = ''] = JSON.parse(key) as string[]
    if (ref === null) {
      batch.removeStray({ bucket: unit.bucket, type, id, subkey })
      return true
    }
    const table = ref.t === MAILBOX_TABLE.number ? MAILBOX_TABLE : tables.find(({ number }) => number === ref.t)
    const state = table && batch.state(table, ref.key)
    if (!table || !state) return false
    if (table === MAILBOX_TABLE) {
      const lacking = state.outputs.find((output) => output.bucket === unit.bucket && output.id === id)
      if (lacking) batch.redeliver(lacking)
      return lacking !== undefined
    }
    batch.restate(table, ref.key, asHeld(state, unit.bucket, type, id, hash))
    reread(table as FollowedTable, ref.key, settle)
    return true
  }

  function reread(table: FollowedTable, key: string, settle: Intake['settle']): void {
    if (!table.source.counted) settle(table, key, true)
    else copy(table)
  }

  return {
    async rows(unit, differences, expected: Expected, stands) {
      const tell = (each: OpDifference, mended: boolean) => {
        const { code, ref, key, reason } = each
        const table = ref === null ? null : tableName(ref.t)
        const left = repair && !mended ? '; its table is not followed now' : ''
        const source = ref?.key ?? JSON.stringify((JSON.parse(key) as string[]).slice(0, 2))
        found({ code, table, key: source, bucket: unit.name, reason: reason + left, mended })
      }
      if (!repair) return differences.forEach((each) => tell(each, expected.changed.has(each.key)))
      await between(work, (batch, settle) => {
        faultPoint('verify.mend')
        if (!stands()) return
        for (const each of differences) tell(each, expected.changed.has(each.key) || mendRow(batch, settle, unit, each))
      })
    },
    async totals(unit, difference) {
      if (repair) {
        while (await mend(unit.name)) await work.pause(0)
        await between(work, (batch) => batch.announce(unit.bucket))
      }
      found({ ...difference, mended: repair })
    },
  }
}

/** What row state says when it says of one output what the bucket holds; `hash` null: nothing. */
function asHeld(state: RowState, bucket: number, type: string, id: string, hash: string | null): RowState {
  const outputs = state.outputs.flatMap((output) => {
    if (output.bucket !== bucket || output.type !== type || output.id !== id) return [output]
    return hash === null ? [] : [{ ...output, hash }]
  })
  return { ...state, outputs }
}
