import type { SlotStatus } from '../../protocol/messages/status.ts'
import type { HealthState, SourceHealth, SourceProblem } from '../source.ts'
import type { PostgresSettings } from './settings.ts'
import type { SlotMeasure } from './stream/slot.ts'

/** How near the WAL that the slot keeps is to what is allowed. */
export type WalLevel = SlotStatus['level']

const LEVELS: readonly WalLevel[] = ['ok', 'much', 'over', 'lost']
const GB = 1024 ** 3
/**
 * Measures in a row after which WAL over the limit is dropped although everything in it was read. Postgres lets go of it some time after our
 * acknowledgement, with the next record of running transactions; if it does not, a transaction that stays open keeps it.
 */
const PATIENCE = 3
/** WAL that is kept although it was read, at which a marker is worth its while: what is acknowledged with it lets Postgres let go. */
const MARKER_BYTES = 16 * 1024 ** 2

export interface WalVerdict {
  level: WalLevel
  /** Measures in a row that were over the limit. */
  overs: number
  /** The policy says that the slot goes, and everything is compared again. */
  drop: boolean
  /** To be told: a higher level than before. */
  problem: SourceProblem | null
}

/** What to do about what a slot keeps, when it was at `before`. */
export function judgeWal(
  measure: SlotMeasure,
  before: Pick<WalVerdict, 'level' | 'overs'>,
  { walPolicy, walKeepGb }: Pick<PostgresSettings, 'walPolicy' | 'walKeepGb'>,
): WalVerdict {
  const { walStatus, retainedBytes, lagBytes, safeWalBytes, maxKeepBytes } = measure
  const limit = walKeepGb * GB
  const over = retainedBytes > limit
  const endangered = walStatus === 'unreserved' || (safeWalBytes !== null && maxKeepBytes !== null && safeWalBytes < maxKeepBytes / 4)
  const level: WalLevel = walStatus === 'lost' ? 'lost' : over ? 'over' : endangered || retainedBytes > limit / 2 ? 'much' : 'ok'
  const overs = over ? before.overs + 1 : 0
  const drop = level === 'over' && walPolicy === 'drop-and-resync' && (lagBytes > limit / 2 || overs >= PATIENCE)
  const higher = LEVELS.indexOf(level) > LEVELS.indexOf(before.level)
  return { level, overs, drop, problem: higher ? { code: 'ROCKPOOL_WAL_KEPT', reason: describeWal(measure, level, walKeepGb) } : null }
}

export const wantsMarker = ({ retainedBytes, lagBytes }: SlotMeasure): boolean => retainedBytes - lagBytes > MARKER_BYTES

/** For people. */
export function describeWal(measure: SlotMeasure, level: WalLevel, walKeepGb: number): string {
  const { walStatus, retainedBytes, safeWalBytes, maxKeepBytes } = measure
  const kept = `the slot keeps ${size(retainedBytes)} of WAL (wal_status ${walStatus ?? '?'})`
  const over = level === 'over' ? [`that is more than WAL_KEEP_GB (${walKeepGb} GB)`] : []
  const room = maxKeepBytes === null ? 'max_slot_wal_keep_size is not set' : `max_slot_wal_keep_size is ${size(maxKeepBytes)}`
  const safe = safeWalBytes === null ? '' : `, ${size(Math.max(0, safeWalBytes))} before the slot is in danger`
  return [kept, ...over, `${room}${safe}`].join('; ')
}

const size = (bytes: number) => (bytes >= GB ? `${(bytes / GB).toFixed(1)} GB` : `${Math.round(bytes / 1024 ** 2)} MB`)

/** What the slot keeps, and what is to be done about it. `before`: what was measured last. Null: there is no slot. */
export function slotHealth(
  measure: SlotMeasure | null,
  before: HealthState | null,
  settings: PostgresSettings,
  now: Date,
): SourceHealth | null {
  if (measure === null) return null
  const known = before as unknown as SlotStatus | null
  const verdict = judgeWal(measure, known ?? { level: 'ok', overs: 0 }, settings)
  const { level, overs, problem } = verdict
  // One measure may meet a standby that confirms a moment later.
  const awaited = known?.awaitedStandbys ? measure.awaitedStandbys : null
  const waits: SourceProblem[] = awaited ? [{ code: 'ROCKPOOL_STANDBY_AWAITED', reason: describeWait(awaited) }] : []
  return {
    level,
    nudge: wantsMarker(measure),
    drop: verdict.drop ? { code: 'ROCKPOOL_WAL_DROPPED', reason: describeWal(measure, level, settings.walKeepGb) } : null,
    problems: [...(problem ? [problem] : []), ...waits],
    state: { name: settings.slot, measured: now.toISOString(), level, overs, ...measure },
  }
}

const describeWait = (standbys: string): string =>
  `Postgres sends nothing until a standby has confirmed it: synchronized_standby_slots is ${standbys}. Start that standby again, or take it out of the setting`
