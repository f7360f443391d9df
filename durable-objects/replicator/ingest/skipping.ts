import { tableText } from '../../../protocol/tables.ts'
import type { Store } from '../store/store.ts'
import type { Care } from './care.ts'
import type { CareOf } from './intake-ports.ts'

/** What becomes of changes that kill. `reads`: they are rows that are read, and not changes of the stream. */
export function careOf(
  care: Care,
  { tables, diagnostics }: Pick<Store, 'tables' | 'diagnostics'>,
  reads: boolean,
): CareOf {
  return {
    care,
    skipped: (table, key, left) => {
      const copying = tables.copyState(table).state !== 'done'
      care.skipped(copying && !reads)
      if (!copying) tables.compare(table)
      const what = key === '' ? 'TRUNCATE' : 'a change of this row'
      const became = left ? 'what was synced of it is left as it was' : 'the row is left out'
      const reason = `${what} ended the replicator each time it came, and was skipped: ${became}${reads ? '' : '; the table is compared'}`
      diagnostics.add({ code: 'ROCKPOOL_CHANGE_SKIPPED', table: tableText(table), key, reason })
    },
  }
}
