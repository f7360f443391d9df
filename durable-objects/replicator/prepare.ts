import type { Sql } from 'postgres'
import { dropSlot, measureSlot, prepareSource, type PreparedSource } from '../../postgres/index.ts'
import type { TenantSettings } from '../directory/settings.ts'
import type { Core } from './core.ts'
import { disconnected } from './position.ts'
import { judgeWal } from './wal-guard.ts'

/**
 * What comes before the stream: the plan, the publication, and a slot that connects to what is stored; when none does, a new one, and everything is
 * compared. `slotWaits`: see `prepareSource`. Throws RockpoolError.
 */
export async function prepare(
  core: Core,
  settings: TenantSettings,
  sql: Sql,
  slotWaits: (waiting: boolean) => void,
): Promise<PreparedSource> {
  const { state, diagnostics } = core
  const { publication, slot } = settings
  // Before anything that may refuse: a slot that nobody can read keeps WAL too.
  const overKept = await measure(core, settings, sql, true)
  if (overKept) await dropSlot(sql, slot)
  const options = { slot, tables: names(core, settings), slotWaits, ...(publication === undefined ? {} : { publication }) }
  const source = await prepareSource(sql, options)
  warn(core, source)
  const known = state.get('source')
  const problem = disconnected(known, state.get('decode').position, source)
  const { systemIdentifier, database } = source.identity
  if (known?.systemIdentifier !== systemIdentifier || known.database !== database) state.set('source', { systemIdentifier, database })
  if (problem && overKept) resync(core, 'the slot was dropped, because it kept too much WAL')
  else if (problem) {
    if (problem.slotLost) diagnostics.add({ code: 'ROCKPOOL_SLOT_LOST', reason: `${slot}: ${problem.reason}` })
    resync(core, problem.reason)
  }
  if (!state.get('newSlot')) return source
  if (!source.slot.created) await dropSlot(sql, slot)
  const renewed = source.slot.created ? source : await prepareSource(sql, options)
  state.set('newSlot', false)
  return renewed
}

/** The tables of the plans under which rows are evaluated from now on: the serving one, and one that is to serve. */
function names(core: Core, settings: TenantSettings) {
  const { state, plans, tables } = core
  const wanted = plans.wanted(settings.syncConfig)
  const serving = core.planBehind
  if (wanted === serving) {
    if (state.get('next') !== null) state.set('next', null)
  } else if (wanted !== state.get('next')) {
    // New definitions see the stream from now on, and every row that is there already by the copy.
    state.set('next', wanted)
    tables.copyAll(false)
  }
  core.evaluating = [...new Set([serving, wanted])].flatMap((hash) => (hash === null ? [] : [plans.load(hash)]))
  return core.evaluating.flatMap((plan) => [...plan.tables])
}

/** What the slot told us so far does not connect to what it will tell: everything is compared again, and what is gone is removed. */
export function resync({ state, tables, diagnostics }: Core, reason: string): void {
  diagnostics.add({ code: 'ROCKPOOL_RESYNC', reason: `everything is compared again: ${reason}` })
  state.set('newSlot', true)
  state.set('decode', { counter: state.get('decode').counter, position: null, partial: null })
  tables.copyAll(true)
}

/** Looks at what the slot keeps. True: more than the policy allows, so it is to be dropped. `keep`: the measure is stored. */
export async function measure(core: Core, settings: TenantSettings, sql: Sql, keep = false): Promise<boolean> {
  const before = core.slot
  const found = await measureSlot(sql, settings.slot)
  const verdict = found && judgeWal(found, before?.level ?? 'ok', settings)
  core.slot = found && verdict && { name: settings.slot, measured: new Date().toISOString(), level: verdict.level, ...found }
  if (keep || before?.level !== verdict?.level) core.state.set('slot', core.slot)
  if (verdict?.problem) core.diagnostics.add(verdict.problem)
  return verdict?.drop ?? false
}

function warn({ diagnostics }: Core, { slotTimeoutMs }: PreparedSource): void {
  if (slotTimeoutMs === 0) return
  const reason = `idle_replication_slot_timeout is ${slotTimeoutMs / 1_000} s: Postgres takes the slot away when nobody has read it for so long, and then everything is compared again. Polls are at most half of that apart; set it to 0 if they may be missed`
  diagnostics.add({ code: 'ROCKPOOL_SLOT_TIMEOUT', reason })
}
