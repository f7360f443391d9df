import type { RefusedTable } from '../../../sources/source.ts'
import type { Store } from '../store/store.ts'
import { storable } from './refused.ts'

/** The tables that the session that begins cannot follow. Stored, because objects that nobody needs end, and operators ask all the same. */
export function refuse({ state }: Pick<Store, 'state'>, found: readonly RefusedTable[]): void {
  const tables = storable(found)
  if (JSON.stringify(tables) !== JSON.stringify(state.get('refused'))) state.set('refused', tables)
}

/** Those among them that the sync config that serves reads, or the one that is to serve. What only an earlier one reads is nobody's business. */
export function refusedTables(store: Store): { table: string; reason: string }[] {
  const read = store.state.get('refused').filter(({ names }) => !store.servesNobody({ names }))
  return read.map(({ table, reason }) => ({ table, reason }))
}
