import type { BatchTable } from '../ingest/batch.ts'
import type { Care } from '../ingest/care.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import type { Intake } from '../ingest/intake.ts'
import type { Store } from '../store/store.ts'
import { newCopy } from './copy-state.ts'
import type { CopyWork } from './copy-work.ts'

/** Rows of a retired table that one batch removes. */
const ROWS_PER_BATCH = 1_000

export interface StoredWorkPorts {
  store: Pick<Store, 'tables' | 'rows'>
  tables: readonly FollowedTable[]
  care: Pick<Care, 'copied'>
  intake: Pick<Intake, 'isBetween' | 'between'>
  /** More of a table is read. */
  moved(): void
  /** Resolves when there is room for further batches. */
  room(): Promise<void>
  /** Waits; rejects when the session is over. */
  pause(milliseconds: number): Promise<void>
  isOver(): boolean
}

/** The work of a copy: the tables that are to be read, as storage has them. */
export function storedWork(ports: StoredWorkPorts): CopyWork {
  const { store, tables, care, moved } = ports
  const { tables: known } = store
  return {
    tables,
    copyState: (table) => known.copyState(table),
    progress(table, copy) {
      const isAgain = copy.state === 'done' && care.copied(table.number)
      known.progress(table, isAgain ? newCopy(true) : copy)
      moved()
    },
    incomplete: (limit) => known.incomplete(limit),
    async removeRetired() {
      const { retired } = known
      if (retired) await removeRows(retired, ports)
      return retired ? 'removed' : 'none'
    },
    isOver: () => ports.isOver(),
  }
}

/**
 * Rows of a table that is not followed do not come through the stream, so their removal needs no particular place in
 * it.
 */
async function removeRows(table: BatchTable, { store, intake, room, pause }: StoredWorkPorts): Promise<void> {
  const { tables, rows } = store
  while (!intake.isBetween) await pause(1)
  const keys = rows.keys(table.number, '', ROWS_PER_BATCH)
  if (keys.length === 0) return tables.forget(table)
  intake.between((batch) => {
    // The table that goes by this name now may have put a row of the same key into the same buckets.
    const successor = tables.successor(table)
    batch.load(table, keys)
    if (successor) batch.load(successor, keys)
    for (const key of keys) batch.remove(table, key, successor)
  })
  await room()
}
