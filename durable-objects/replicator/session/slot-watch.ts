import type { Sql } from 'postgres'
import { dropSlot, measureSlot } from '../../../sources/postgres/index.ts'
import type { SlotStatus } from '../../../protocol/messages/status.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import type { Store } from '../store/store.ts'
import type { Looked } from './source-look.ts'
import { describeWal, judgeWal, wantsMarker } from './wal-guard.ts'

/** What the slot keeps, as it was measured last, and what is done about it. */
export class SlotWatch {
  readonly #store: Pick<Store, 'state' | 'diagnostics'>
  #measured: SlotStatus | null

  constructor(store: Pick<Store, 'state' | 'diagnostics'>) {
    this.#store = store
    this.#measured = store.state.get('slot')
  }

  /**
   * Looks at what the slot keeps. `drop`: more than the policy allows. `marker`: what was read is still kept, and an acknowledgement may help.
   * `keep`: the measure is stored, also when the level is what it was.
   */
  async measure(settings: ReplicationSettings, sql: Sql, keep = false): Promise<{ drop: boolean; marker: boolean }> {
    const { state, diagnostics } = this.#store
    const before = this.#measured
    const found = await measureSlot(sql, settings.slot)
    const verdict = found && judgeWal(found, before ?? { level: 'ok', overs: 0 }, settings)
    this.#measured = found &&
      verdict && { name: settings.slot, measured: new Date().toISOString(), level: verdict.level, overs: verdict.overs, ...found }
    if (keep || before?.level !== verdict?.level) state.set('slot', this.#measured)
    if (verdict?.problem) diagnostics.add(verdict.problem)
    // One measure may meet a standby that confirms a moment later.
    if (before?.awaitedStandbys && found?.awaitedStandbys)
      diagnostics.add({ code: 'ROCKPOOL_STANDBY_AWAITED', reason: describeWait(found.awaitedStandbys) })
    return { drop: verdict?.drop ?? false, marker: found !== null && wantsMarker(found) }
  }

  /** True: the slot kept more than the policy allows, and is gone. */
  async dropOverKept(settings: ReplicationSettings, sql: Sql): Promise<boolean> {
    const { drop } = await this.measure(settings, sql, true)
    const measured = this.#measured
    if (!drop || !measured) return false
    await dropSlot(sql, settings.slot)
    const reason = describeWal(measured, measured.level, settings.walKeepGb)
    this.#store.diagnostics.add({ code: 'ROCKPOOL_WAL_DROPPED', reason })
    return true
  }

  /** `looked`: what was found just now, in the place of what was measured last. Nothing is kept of it: sessions judge the slot by their own measures. */
  status(settings: ReplicationSettings | null, looked: Looked | null): SlotStatus | null {
    const measured = this.#measured
    if (!settings || !looked || looked.slot === undefined) return measured
    if (looked.slot === null) return null
    const { level, overs } = judgeWal(looked.slot, measured ?? { level: 'ok', overs: 0 }, settings)
    return { name: settings.slot, measured: looked.look.at, level, overs, ...looked.slot }
  }
}

const describeWait = (standbys: string): string =>
  `Postgres sends nothing until a standby has confirmed it: synchronized_standby_slots is ${standbys}. Start that standby again, or take it out of the setting`
