import { closest } from '../../../protocol/closest.ts'
import { tableText, type TableName } from '../../../protocol/tables.ts'
import type { FoundColumn, FoundTable } from './catalog.ts'
import { missingNames, noSuchTable, type Meant } from './near-names.ts'
import { publish, type PublishedTable } from './publication.ts'
import type { RefusedTable } from '../../source.ts'
import type { CatalogTable, WantedColumns } from '../types.ts'

/**
 * Returns the tables to follow, of those that were found and published. Rows arrive under a table, under a partition,
 * or under the partitioned table above it when the publication says so.
 */
export function followTables(
  names: readonly TableName[],
  found: readonly FoundTable[],
  published: ReadonlyMap<number, PublishedTable>,
  publication: string,
  serverVersion: number,
  wanted: (names: readonly TableName[]) => WantedColumns,
  meant: Meant,
): { tables: CatalogTable[]; refusedTables: RefusedTable[] } {
  const refusedTables: RefusedTable[] = []
  const refuse = (table: TableName & Partial<Pick<FoundTable, 'ancestors'>>, reason: string, gone: boolean) => {
    const names = [table, ...(table.ancestors ?? [])].map(({ schema, name }) => ({ schema, name }))
    const { schema, name } = table
    refusedTables.push({ name: { schema, name }, table: tableText(table), reason, gone, names })
  }
  for (const name of missingNames(names, found)) {
    // The table may return, or the next deploy may rename it, and nobody asked for its rows to be removed.
    refuse(name, `${ended(noSuchTable(meant(name)))} Rows of it that were synced ${KEPT}`, false)
  }
  const tables: CatalogTable[] = []
  for (const table of found) {
    const entry = published.get(table.oid)
    if (table.refused !== null) {
      if (table.named) refuse(table, table.refused, false)
    } else if (entry) {
      const { followed, reason } = follow(table, entry, found, serverVersion, wanted)
      if (followed) tables.push(followed)
      if (reason !== null) refuse(table, reason, false)
    } else if (table.named && !table.partitioned) {
      const above = table.ancestors.find((each) => published.has(each.oid))
      const reason = above
        ? `it is published under ${tableText(above)}: name that in the sync config, or ALTER PUBLICATION ${publication} SET (publish_via_partition_root = false)`
        : `it is not in the publication ${publication}: ${publish(publication, true, [table])}`
      refuse(table, reason, true)
    } else if (
      table.named &&
      !found.some((each) => published.has(each.oid) && below(each, table)) &&
      !emptyMember(table, found)
    ) {
      refuse(table, `it is not in the publication ${publication}: ${publish(publication, true, [table])}`, true)
    }
  }
  return { tables, refusedTables }
}

/** A partitioned table without partitions is published without being listed. */
const emptyMember = (table: FoundTable, found: readonly FoundTable[]) => leavesOf(table, found).length === 0
/** What happens to synced rows when a table or a column is missing. */
const KEPT = 'stay as they are until it exists, or until a sync config is deployed that does not name it'
const ended = (text: string): string => (text.endsWith('?') ? text : `${text}.`)

function meantColumns(lost: readonly string[], { columns }: FoundTable): string {
  const names = columns.map(({ name }) => name)
  const near = lost.flatMap((name) => closest(name, names) ?? [])
  return near.length === 0 ? '' : `: did you mean ${near.map((name) => JSON.stringify(name)).join(', ')}?`
}

const below = (table: FoundTable, root: FoundTable) => table.ancestors.some((each) => each.oid === root.oid)
export const leavesOf = (root: FoundTable, found: readonly FoundTable[]) =>
  found.filter((each) => !each.partitioned && below(each, root))

function follow(
  table: FoundTable,
  entry: PublishedTable,
  found: readonly FoundTable[],
  serverVersion: number,
  wanted: (names: readonly TableName[]) => WantedColumns,
): { followed: CatalogTable | null; reason: string | null } {
  const leaves = table.partitioned ? leavesOf(table, found) : [table]
  // The identity of the partition decides which old values a change carries.
  const { key, keyEquals, keyTypes } = leaves[0] ?? table
  if (leaves.some((leaf) => JSON.stringify(leaf.key) !== JSON.stringify(key))) {
    return {
      followed: null,
      reason:
        'its partitions have different keys or replica identities, and it is published with publish_via_partition_root',
    }
  }
  // Before Postgres 18 generated columns are never sent, although the catalog may list them.
  const sent = (column: FoundColumn) => column.generated === '' || (serverVersion >= 180_000 && entry.columns !== null)
  const columns = table.columns.filter((column) => sent(column) && (entry.columns?.includes(column.name) ?? true))
  const names = [table, ...table.ancestors].map(({ schema, name }) => ({ schema, name }))
  const { all, read, named } = wanted(names)
  // Without these columns, rows would be evaluated as if they did not belong into their buckets.
  const lost = [...named].filter((name) => !table.columns.some((column) => column.name === name))
  if (lost.length > 0) {
    return {
      followed: null,
      reason: `${ended(`the sync config reads ${lost.map((name) => JSON.stringify(name)).join(', ')}, which it does not have${meantColumns(lost, table)}`)} Rows of it that were synced ${KEPT}`,
    }
  }
  const missing = key.filter((name) => !columns.some((column) => column.name === name))
  if (missing.length > 0)
    return { followed: null, reason: `the publication's column list leaves out ${missing.join(', ')}, part of its key` }
  const isRead = ({ name, type }: FoundColumn) => read.has(name) || (all && type.name !== 'bytea')
  const left = table.columns
    .filter((column) => column.generated === '' && !columns.includes(column) && isRead(column))
    .map((column) => column.name)
  const parts = leaves.map(({ oid, schema, name }) => ({ oid, schema, name }))
  const content = [
    ...[table.oid, table.identity, key, columns, entry.rowFilter, entry.membership, names],
    ...(table.partitioned ? leaves.map((leaf) => [leaf.oid, leaf.filenode, leaf.columns]) : []),
  ]
  const followed: CatalogTable = {
    oid: table.oid,
    schema: table.schema,
    name: table.name,
    identity: table.identity,
    partitioned: table.partitioned,
    // Rows without a key are identified by all their values.
    columns: key.length === 0 ? columns : columns.filter((column) => isRead(column) || key.includes(column.name)),
    sent: columns.map(({ name, typeOid }) => ({ name, typeOid })),
    named: [...named],
    key,
    keyEquals,
    keyTypes,
    parts,
    names,
    rowFilter: entry.rowFilter,
    fingerprint: JSON.stringify(content),
  }
  return {
    followed,
    reason:
      left.length > 0
        ? `the publication's column list leaves out ${left.join(', ')}, so these columns are not synced`
        : null,
  }
}
