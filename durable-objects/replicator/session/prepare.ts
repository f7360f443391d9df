import type { Sql } from 'postgres'
import {
  dropSlot,
  parseSourceUrl,
  prepareSource,
  TLS_REQUIRED_FROM,
  type PreparedSource,
  type WantedColumns,
} from '../../../sources/postgres/index.ts'
import { tableKey, type TableName } from '../../../protocol/tables.ts'
import { namedColumns } from '../../../sync-config/index.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import type { Committer } from '../commit/committer.ts'
import type { Deploys } from '../deploy/deploys.ts'
import type { SourceTable } from '../ingest/source-table.ts'
import type { Diagnostics } from '../store/diagnostics.ts'
import { disconnected } from './position.ts'
import { takeScript } from '../deploy/script-config.ts'
import { refuse, refusedTables } from './refused-tables.ts'
import type { SlotWatch } from './slot-watch.ts'
import type { Store } from '../store/store.ts'

export interface PreparePorts {
  store: Store
  deploys: Deploys
  committer: Pick<Committer, 'hold'>
  slot: SlotWatch
}

/**
 * What comes before the stream: the plan, the publication, and a slot that connects to what is stored; when none does, a new one, and everything is
 * compared. `url`: of the database, a secret; `slotWaits`: see `prepareSource`; `verified`: whether the connection's certificate was. Throws RockpoolError.
 */
export async function prepare(
  ports: PreparePorts,
  settings: ReplicationSettings,
  sql: Sql,
  { url, slotWaits, verified }: { url: string; slotWaits: (waiting: boolean) => void; verified: () => boolean },
): Promise<PreparedSource> {
  const { store, deploys } = ports
  const { state, diagnostics } = store
  const { publication, ownPublication, slot } = settings
  // Before anything that may refuse: a slot that nobody can read keeps WAL too.
  const overKept = await ports.slot.dropOverKept(settings, sql)
  deploys.begin(settings.retireGraceSeconds, state.get('decode').counter)
  const options = {
    slot,
    ownPublication,
    tables: deploys.evaluation.tables,
    columns: readColumns(deploys),
    slotWaits,
    nameColumns: settings.publicationColumns === 'read',
    ...(publication === undefined ? {} : { publication }),
  }
  const source = await prepareSource(sql, options)
  warn(diagnostics, source)
  const known = state.get('source')
  const problem = disconnected(known, state.get('decode').position, source)
  const { systemIdentifier, database } = source.identity
  const tls = settledTls(store, url, verified())
  if (known?.systemIdentifier !== systemIdentifier || known.database !== database || known.tls !== tls) {
    state.set('source', { systemIdentifier, database, ...(tls && { tls }) })
  }
  if (problem && overKept) resync(ports, 'the slot was dropped, because it kept too much WAL')
  else if (problem) {
    if (problem.slotLost) diagnostics.add({ code: 'ROCKPOOL_SLOT_LOST', reason: `${slot}: ${problem.reason}` })
    resync(ports, problem.reason)
  }
  let prepared = source
  if (state.get('newSlot')) {
    if (!source.slot.created) {
      await dropSlot(sql, slot)
      prepared = await prepareSource(sql, options)
    }
    state.set('newSlot', false)
  }
  if (prepared.slot.created) await ports.slot.measure(settings, sql, true)
  return prepared
}

/**
 * The script's own sync config becomes a deploy when it is another one than it was. One with a mistake changes nothing but for what is told; when
 * nothing serves yet, that is told before the database is asked for anything. The slot is looked at all the same, when it can be: one that nobody
 * reads keeps WAL. Throws ROCKPOOL_SYNC_CONFIG.
 */
export async function checkSyncConfig({ store, deploys, slot }: PreparePorts, settings: ReplicationSettings, sql: Sql): Promise<void> {
  const mistake = await takeScript({ store, deploys }, settings, sql)
  if (!mistake || store.planStored !== null || store.configs.next) return
  await slot.dropOverKept(settings, sql).catch(() => false)
  throw mistake
}

export const streamOptions = (
  diagnostics: Diagnostics,
  slot: string,
  { publication, walSenderTimeoutMs, slot: found }: PreparedSource,
) => ({
  slot,
  publication,
  walSenderTimeoutMs,
  ...(found.failover === false ? { markForFailover: { refused: (reason: string) => unmarked(diagnostics, slot, reason) } } : {}),
  freed: ({ pid }: { pid: number }) =>
    diagnostics.add({ code: 'ROCKPOOL_SLOT_FREED', reason: `an earlier session held the slot ${slot} (pid ${pid}); it was ended` }),
})

function unmarked(diagnostics: Diagnostics, slot: string, why: string): void {
  const reason = `the slot ${slot} cannot be marked for failover (${why}): when a standby becomes the primary, everything is compared again`
  diagnostics.add({ code: 'ROCKPOOL_SLOT_FAILOVER', reason })
}

/** The tables that the session follows; the ones that it cannot are told. */
export function sourceTables({ store, deploys }: Pick<PreparePorts, 'store' | 'deploys'>, source: PreparedSource): SourceTable[] {
  refuse(store, source.refusedTables)
  // What only an earlier sync config reads is nobody's business.
  const told = new Set(refusedTables(store).map(({ table }) => table))
  for (const { table, reason, names } of source.refusedTables) {
    if (told.has(table)) store.diagnostics.add({ code: 'ROCKPOOL_TABLE_REFUSED', table, reason, of: { names } })
  }
  const wrong = new Set(source.refusedTables.filter((each) => !each.gone).map((each) => tableKey(each.name)))
  // What no plan reads stays as it is: the buckets of its definitions are not served.
  const kept = (names: readonly TableName[]): boolean =>
    names.some((name) => wrong.has(tableKey(name))) || !names.some((name) => deploys.evaluation.reads(name))
  return store.tables.use(source.tables, (table) => store.rows.any(table), kept)
}

/** What the slot told us so far does not connect to what it will tell: everything is compared again, and what is gone is removed. */
export function resync({ store, committer }: Pick<PreparePorts, 'store' | 'committer'>, reason: string): void {
  const { state, tables, diagnostics } = store
  diagnostics.add({ code: 'ROCKPOOL_RESYNC', reason: `everything is compared again: ${reason}` })
  committer.hold()
  state.set('newSlot', true)
  state.set('comparing', true)
  state.set('decode', { counter: state.get('decode').counter, position: null, partial: null })
  tables.compareAll()
}

/** Names that a problem shows. */
const SHOWN_TABLES = 5

function warn(diagnostics: Diagnostics, { slotTimeoutMs, publication, unread }: PreparedSource): void {
  if (unread.length > 0) {
    const names = unread.slice(0, SHOWN_TABLES).join(', ')
    const reason = `the publication ${publication} sends ${unread.length} tables that the sync config does not read: ${names}${unread.length > SHOWN_TABLES ? ' …' : ''}`
    diagnostics.add({ code: 'ROCKPOOL_PUBLICATION', reason })
  }
  if (slotTimeoutMs === 0) return
  const reason = `idle_replication_slot_timeout is ${slotTimeoutMs / 1_000} s: Postgres takes the slot away when nobody has read it for so long, and then everything is compared again. Polls are at most half of that apart; set it to 0 if they may be missed`
  diagnostics.add({ code: 'ROCKPOOL_SLOT_TIMEOUT', reason })
}

/** What is evaluated says what is read. What must be there is asked of what is to serve: who goes over to other columns may drop the old ones. */
function readColumns({ evaluation, wanted }: Deploys) {
  return (names: readonly TableName[]): WantedColumns => ({
    ...namedColumns(evaluation)(names),
    named: namedColumns(wanted)(names).named,
  })
}

/** A deployment that an earlier version connected, and that has not been seen since to be reached as a new one must be. */
export function earlierTls({ state }: Pick<Store, 'state'>): boolean {
  const source = state.get('source')
  return source !== null && source.tls === undefined
}

/** Undefined: the database is reached in a way that only a deployment of an earlier version may use, which is told. */
function settledTls(store: Store, url: string, verified: boolean): true | undefined {
  const { earlier } = parseSourceUrl(url, { earlierTls: earlierTls(store) })
  // Nothing said means this from now on, and it has just worked.
  if (earlier === null || (earlier.said === null && verified)) return true
  const how = verified ? 'over TLS that nothing demands' : 'without TLS'
  const reason = `DATABASE_URL: the database is reached ${how}, and from release ${TLS_REQUIRED_FROM} on it is not: ${earlier.advice}`
  store.diagnostics.add({ code: 'ROCKPOOL_TLS_NOT_DEMANDED', reason })
  return undefined
}

/** Ours alone, so that a dead session of ours is told apart from another Rockpool at the same slot. */
export const applicationName = ({ state }: Pick<Store, 'state'>): string => `rockpool-${state.storageId()}`
