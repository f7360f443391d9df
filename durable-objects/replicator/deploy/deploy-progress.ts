import type { TableCopyStatus, TableEstimate } from '../../../protocol/messages/admin.ts'

/**
 * Returns the progress of a deploy's tables. Until a session has begun with the deploy, nothing is copied: what is
 * known is about the copy before.
 */
export function ofDeploy(
  copy: readonly TableEstimate[],
  tables: readonly TableCopyStatus[],
  begun: boolean,
): TableCopyStatus[] {
  const wanted = new Set(begun ? [] : copy.map(({ table }) => table))
  return tables.map((each) =>
    wanted.has(each.table) && each.state !== 'removing'
      ? { ...each, state: 'waiting', block: 0, blocks: 0, rows: 0, progress: 0 }
      : each,
  )
}

/**
 * Returns how much of the copy is done, 0 to 1, weighted by the estimated rows of each table. A table that the session
 * does not know yet, because the deploy has just begun, counts as not copied.
 */
export function progressOf(
  copy: readonly TableEstimate[],
  tables: readonly Pick<TableCopyStatus, 'table' | 'progress' | 'state'>[],
): number {
  const known = new Map(
    tables.flatMap(({ table, progress, state }) => (state === 'removing' ? [] : [[table, progress] as const])),
  )
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
