import type { TableCopyStatus, TableEstimate } from '../../../protocol/messages/admin.ts'

/** Until a session has begun with the deploy, what is known of its tables is of the copy before: nothing of them is copied yet. */
export function ofDeploy(copy: readonly TableEstimate[], tables: readonly TableCopyStatus[], begun: boolean): TableCopyStatus[] {
  const wanted = new Set(begun ? [] : copy.map(({ table }) => table))
  return tables.map((each) =>
    wanted.has(each.table) && each.state !== 'removing' ? { ...each, state: 'waiting', block: 0, blocks: 0, rows: 0, progress: 0 } : each,
  )
}

/**
 * What was copied of what there is to copy, each table by the rows that it was thought to have. One that the session does not know yet, because the deploy has just
 * begun, is not copied.
 */
export function progressOf(
  copy: readonly TableEstimate[],
  tables: readonly Pick<TableCopyStatus, 'table' | 'progress' | 'state'>[],
): number {
  const known = new Map(tables.flatMap(({ table, progress, state }) => (state === 'removing' ? [] : [[table, progress] as const])))
  const parts = copy.length > 0 ? copy : [...known.keys()].map((table) => ({ table, rows: 1 }))
  let all = 0
  let done = 0
  for (const { table, rows } of parts) {
    const weight = Math.max(1, rows)
    all += weight
    done += weight * (known.get(table) ?? 0)
  }
  return all === 0 ? 1 : done / all
}
