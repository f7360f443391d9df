import type { RefusedTable } from '../../../sources/source.ts'
import type { Store } from '../store/store.ts'
import { storable } from './refused.ts'

/** Stores the tables that this session cannot follow. Operators ask for them also after the object has ended. */
export function refuse({ state }: Pick<Store, 'state'>, found: readonly RefusedTable[]): void {
  const tables = storable(found)
  if (JSON.stringify(tables) !== JSON.stringify(state.get('refused'))) state.set('refused', tables)
}

/** Returns those among them that are read by the sync config that serves, or by the one that is to serve. */
export function refusedTables(store: Store): { table: string; reason: string }[] {
  const read = store.state.get('refused').filter(({ names }) => !store.servesNobody({ names }))
  return read.map(({ table, reason }) => ({ table, reason }))
}
