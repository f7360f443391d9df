import type { SlotMeasure } from '../../postgres/index.ts'
import type { SlotStatus } from '../../protocol/messages.ts'
import type { TenantSettings } from '../directory/settings.ts'
import type { Problem } from './diagnostics.ts'

/** How near the WAL that the slot keeps is to what is allowed. */
export type WalLevel = SlotStatus['level']

const LEVELS: readonly WalLevel[] = ['ok', 'much', 'over', 'lost']
const GB = 1024 ** 3

export interface WalVerdict {
  level: WalLevel
  /** The policy says that the slot goes, and everything is compared again. */
  drop: boolean
  /** To be told: a higher level than before. */
  problem: Problem | null
}

/** What to do about what a slot keeps, when it was at `before`. */
export function judgeWal(
  measure: SlotMeasure,
  before: WalLevel,
  { walPolicy, walKeepGb }: Pick<TenantSettings, 'walPolicy' | 'walKeepGb'>,
): WalVerdict {
  const { walStatus, retainedBytes, safeWalBytes, maxKeepBytes } = measure
  const over = retainedBytes > walKeepGb * GB
  const endangered = walStatus === 'unreserved' || (safeWalBytes !== null && maxKeepBytes !== null && safeWalBytes < maxKeepBytes / 4)
  const level: WalLevel = walStatus === 'lost' ? 'lost' : over ? 'over' : endangered || retainedBytes > (walKeepGb * GB) / 2 ? 'much' : 'ok'
  const drop = over && level !== 'lost' && walPolicy === 'drop-and-resync'
  if (LEVELS.indexOf(level) <= LEVELS.indexOf(before)) return { level, drop, problem: null }
  if (drop)
    return { level, drop, problem: { code: 'ROCKPOOL_WAL_DROPPED', reason: `${kept(measure)}; WAL_KEEP_GB allows ${walKeepGb} GB` } }
  const what = {
    ...{ ok: '', much: '', lost: 'Postgres has invalidated the slot' },
    over: `that is more than WAL_KEEP_GB (${walKeepGb} GB)`,
  }[level]
  const room = maxKeepBytes === null ? 'max_slot_wal_keep_size is not set' : `max_slot_wal_keep_size is ${size(maxKeepBytes)}`
  const safe = safeWalBytes === null ? '' : `, ${size(Math.max(0, safeWalBytes))} before the slot is in danger`
  return {
    ...{ level, drop },
    problem: { code: 'ROCKPOOL_WAL_KEPT', reason: [kept(measure), what, `${room}${safe}`].filter(Boolean).join('; ') },
  }
}

const kept = ({ retainedBytes, walStatus }: SlotMeasure) => `the slot keeps ${size(retainedBytes)} of WAL (wal_status ${walStatus ?? '?'})`

export function size(bytes: number): string {
  return bytes >= GB ? `${(bytes / GB).toFixed(1)} GB` : `${Math.round(bytes / 1024 ** 2)} MB`
}
