import type { SlotStatus } from '../../protocol/messages/status.ts'
import type { HealthState, SourceHealth, SourceProblem } from '../source.ts'
import type { PostgresSettings } from './settings.ts'
import type { SlotMeasure } from './stream/slot.ts'

/** How near the WAL that the slot keeps is to its limit. */
export type WalLevel = SlotStatus['level']

const LEVELS: readonly WalLevel[] = ['ok', 'much', 'over', 'lost']
const GB = 1024 ** 3
/**
 * The number of consecutive measures after which WAL over the limit is dropped although everything in it was read.
 * Postgres frees it some time after our acknowledgement, with the next record of running transactions. If it does not,
 * a transaction that stays open keeps it.
 */
const MEASURES_BEFORE_DROP = 3
/**
 * Bytes of WAL that is kept although it was read, above which we emit a marker. Acknowledging the marker lets Postgres
 * free the WAL.
 */
const MARKER_BYTES = 16 * 1024 ** 2

export interface WalVerdict {
  level: WalLevel
  /** How many consecutive measures were over the limit. */
  overs: number
  /** True when the slot is to be dropped, and everything compared again. */
  drop: boolean
  /** The problem to report when the level is higher than before, else null. */
  problem: SourceProblem | null
}

/** Decides what to do about the WAL that a slot keeps. `before` is the last verdict. */
export function judgeWal(
  measure: SlotMeasure,
  before: Pick<WalVerdict, 'level' | 'overs'>,
  { walPolicy, walKeepGb }: Pick<PostgresSettings, 'walPolicy' | 'walKeepGb'>,
): WalVerdict {
  const { walStatus, retainedBytes, lagBytes, safeWalBytes, maxKeepBytes } = measure
  const limit = walKeepGb * GB
  const over = retainedBytes > limit
  const endangered =
    walStatus === 'unreserved' || (safeWalBytes !== null && maxKeepBytes !== null && safeWalBytes < maxKeepBytes / 4)
  const level: WalLevel =
    walStatus === 'lost' ? 'lost' : over ? 'over' : endangered || retainedBytes > limit / 2 ? 'much' : 'ok'
  const overs = over ? before.overs + 1 : 0
  const drop =
    level === 'over' && walPolicy === 'drop-and-resync' && (lagBytes > limit / 2 || overs >= MEASURES_BEFORE_DROP)
  const higher = LEVELS.indexOf(level) > LEVELS.indexOf(before.level)
  return {
    level,
    overs,
    drop,
    problem: higher ? { code: 'ROCKPOOL_WAL_KEPT', reason: describeWal(measure, level, walKeepGb) } : null,
  }
}

export const wantsMarker = ({ retainedBytes, lagBytes }: SlotMeasure): boolean =>
  retainedBytes - lagBytes > MARKER_BYTES

/** Describes a measure for people. */
export function describeWal(measure: SlotMeasure, level: WalLevel, walKeepGb: number): string {
  const { walStatus, retainedBytes, safeWalBytes, maxKeepBytes } = measure
  const kept = `the slot keeps ${size(retainedBytes)} of WAL (wal_status ${walStatus ?? '?'})`
  const over = level === 'over' ? [`that is more than WAL_KEEP_GB (${walKeepGb} GB)`] : []
  const room =
    maxKeepBytes === null ? 'max_slot_wal_keep_size is not set' : `max_slot_wal_keep_size is ${size(maxKeepBytes)}`
  const safe = safeWalBytes === null ? '' : `, ${size(Math.max(0, safeWalBytes))} before the slot is in danger`
  return [kept, ...over, `${room}${safe}`].join('; ')
}

const size = (bytes: number) => (bytes >= GB ? `${(bytes / GB).toFixed(1)} GB` : `${Math.round(bytes / 1024 ** 2)} MB`)

/**
 * Returns what the slot keeps and what must be done about it, or null when there is no slot. `before` is the last
 * state.
 */
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
  // Reported at the second measure, because a standby may confirm a moment after the first.
  const awaited = known?.awaitedStandbys ? measure.awaitedStandbys : null
  const waits: SourceProblem[] = awaited ? [{ code: 'ROCKPOOL_STANDBY_AWAITED', reason: describeWait(awaited) }] : []
  return {
    level,
    nudge: wantsMarker(measure),
    drop: verdict.drop
      ? { code: 'ROCKPOOL_WAL_DROPPED', reason: describeWal(measure, level, settings.walKeepGb) }
      : null,
    problems: [...(problem ? [problem] : []), ...waits],
    state: { name: settings.slot, measured: now.toISOString(), level, overs, ...measure },
  }
}

const describeWait = (standbys: string): string =>
  `Postgres sends nothing until a standby has confirmed it: synchronized_standby_slots is ${standbys}. Start that standby again, or take it out of the setting`
