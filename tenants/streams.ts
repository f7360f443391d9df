import { readSettings } from '../protocol/settings.ts'
import { readLimits, type Limits } from '../sync-config/limits.ts'
import type { SettingBindings } from './bindings.ts'
import { refuseProblems } from './checked.ts'
import { STREAMS } from './declarations.ts'

/** What one stream may use. */
export interface StreamBudget {
  /** Calls to objects, and messages from the relay. */
  calls: number
  /** Bytes of lines sent. */
  bytes: number
}

export interface StreamSettings extends StreamBudget {
  /** The tenant's streams are spread over this many relays. */
  relays: number
  /** Subscriptions of streams that one request may have. */
  subscriptions: number
  /** Streams that one user may have open. */
  perUser: number
  /** Whether ops are compressed for clients that accept it. */
  compression: boolean
}

/**
 * Throws ROCKPOOL_SETTINGS, which names the setting. The limits that apply when a plan is loaded are checked as well.
 */
export function streamSettings(bindings: SettingBindings): StreamSettings {
  const { values, problems } = readSettings(STREAMS, bindings)
  refuseProblems([...problems, ...readLimits(bindings).problems])
  return {
    calls: values.STREAM_MAX_CALLS,
    bytes: values.STREAM_MAX_BYTES,
    relays: values.RELAYS,
    subscriptions: values.MAX_SUBSCRIPTIONS,
    perUser: values.MAX_STREAMS_PER_USER,
    compression: values.STREAM_COMPRESSION === 'on',
  }
}

/** Returns only the limits. Throws ROCKPOOL_SETTINGS. */
export function tenantLimits(bindings: SettingBindings): Limits {
  const { limits, problems } = readLimits(bindings)
  refuseProblems(problems)
  return limits
}
