import { tableKey, type TableName } from '../../../protocol/tables.ts'
import type { Prepared, PrepareWanted, SourceReport, WantedColumns } from '../../../sources/source.ts'
import { toStored } from '../../../sources/stored.ts'
import { namedColumns } from '../../../sync-config/index.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import type { Committer } from '../commit/committer.ts'
import type { Deploys } from '../deploy/deploys.ts'
import { deployBundledConfig } from '../deploy/script-config.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import type { Store } from '../store/store.ts'
import type { HealthWatch } from './health-watch.ts'
import { foreignState, keptIdentity, NOWHERE, streamedTo } from './kept-state.ts'
import { refuse, refusedTables } from './refused-tables.ts'
import type { SourceAccess } from './source-access.ts'

export interface PreparePorts {
  store: Store
  deploys: Deploys
  committer: Pick<Committer, 'hold'>
  health: HealthWatch
}

/**
 * Prepares what comes before the stream: the plan, and a source whose stream connects to what is stored. When it does
 * not connect, a new stream begins, and everything is compared. Throws RockpoolError.
 */
export async function prepare(
  ports: PreparePorts,
  settings: ReplicationSettings,
  { kind, source, call }: SourceAccess,
  report: SourceReport,
): Promise<Prepared> {
  const { store, deploys } = ports
  const { state, diagnostics } = store
  // This comes before anything that may fail: the source also keeps what no session can read.
  const overKept = await ports.health.forgetOverKept(source, call)
  deploys.begin(settings.retireGraceSeconds, state.get('decode').counter)
  const foreign = foreignState(kind, store)
  const wanted: PrepareWanted = {
    tables: deploys.evaluation.tables,
    columns: readColumns(deploys),
    identity: keptIdentity(kind, store),
    at: foreign === null ? streamedTo(kind, store) : NOWHERE,
    fresh: false,
  }
  let prepared = await source.prepare(wanted, report, call())
  const identity = toStored(kind, prepared.identity)
  if (JSON.stringify(identity) !== JSON.stringify(state.get('source'))) state.set('source', identity)
  if (foreign !== null) resync(ports, foreign)
  else if (prepared.resync && overKept) resync(ports, 'the slot was dropped, because it kept too much WAL')
  else if (prepared.resync) {
    const { lost, reason } = prepared.resync
    if (lost) diagnostics.add(lost)
    resync(ports, reason)
  }
  if (state.get('newSlot')) {
    if (!prepared.isNew) prepared = await source.prepare({ ...wanted, at: NOWHERE, fresh: true }, report, call())
    state.set('newSlot', false)
  }
  if (prepared.isNew) await ports.health.measure(source, call(), true)
  return prepared
}

/**
 * Deploys the script's own sync config when it has changed. One with a mistake is only reported. When nothing serves
 * yet, the mistake is thrown before the database is asked for anything else; what the source keeps for us is still
 * checked if possible, since it grows while nobody reads it. Throws ROCKPOOL_SYNC_CONFIG.
 */
export async function checkSyncConfig(
  { store, deploys, health }: PreparePorts,
  settings: ReplicationSettings,
  access: SourceAccess,
): Promise<void> {
  const mistake = await deployBundledConfig({ store, deploys }, settings, access)
  if (!mistake || store.planStored !== null || store.configs.next) return
  await health.forgetOverKept(access.source, access.call).catch(() => false)
  throw mistake
}

/** Returns the tables that the session follows. Those that it cannot follow are reported. */
export function sourceTables(
  { store, deploys }: Pick<PreparePorts, 'store' | 'deploys'>,
  { refused, tables }: Prepared,
): FollowedTable[] {
  refuse(store, refused)
  // A table that only an earlier sync config reads is not reported.
  const reported = new Set(refusedTables(store).map(({ table }) => table))
  for (const { table, reason, names } of refused) {
    if (reported.has(table)) store.diagnostics.add({ code: 'ROCKPOOL_TABLE_REFUSED', table, reason, of: { names } })
  }
  const wrong = new Set(refused.filter((each) => !each.gone).map((each) => tableKey(each.name)))
  // Rows of a table that no plan reads stay: the buckets of its definitions are not served.
  const kept = (names: readonly TableName[]): boolean =>
    names.some((name) => wrong.has(tableKey(name))) || !names.some((name) => deploys.evaluation.reads(name))
  return store.tables.use(tables, (table) => store.rows.any(table), kept)
}

/**
 * The stream does not connect to what is stored, so everything is compared again, and rows that are gone are removed.
 */
export function resync({ store, committer }: Pick<PreparePorts, 'store' | 'committer'>, reason: string): void {
  const { state, tables, diagnostics } = store
  diagnostics.add({ code: 'ROCKPOOL_RESYNC', reason: `everything is compared again: ${reason}` })
  committer.hold()
  state.set('newSlot', true)
  state.set('comparing', true)
  state.set('decode', { counter: state.get('decode').counter, position: null, partial: null })
  tables.compareAll()
}

/**
 * The plans that are evaluated say which columns are read. Only the plan that is to serve says which must exist:
 * somebody who switches to other columns may drop the old ones.
 */
function readColumns({ evaluation, wanted }: Deploys) {
  return (names: readonly TableName[]): WantedColumns => ({
    ...namedColumns(evaluation)(names),
    named: namedColumns(wanted)(names).named,
  })
}

/**
 * Returns a name of this storage alone, so that a dead session of ours is not confused with another Rockpool at the
 * same slot.
 */
export const clientName = ({ state }: Pick<Store, 'state'>): string => `rockpool-${state.storageId()}`
