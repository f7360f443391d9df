import type { SettingBindings } from '../../durable-objects/setting-bindings.ts'
import { STREAMS } from '../../durable-objects/setting-declarations.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import { readSettings } from '../../protocol/settings.ts'
import { readLimits } from '../../sync-config/limits.ts'

export interface StreamSettings extends StreamBudget {
  /** Over so many relays the tenant's streams are spread. */
  relays: number
  /** Subscriptions of streams that one request may have. */
  subscriptions: number
}

/** What one stream may use. */
export interface StreamBudget {
  /** Calls to objects and messages of the relay. */
  calls: number
  /** Bytes of lines. */
  bytes: number
}

/** Throws ROCKPOOL_SETTINGS, naming the setting, also for those limits of the tenant that count when a plan is loaded. */
export function streamSettings(bindings: SettingBindings): StreamSettings {
  const { values, problems } = readSettings(STREAMS, bindings)
  const wrong = [...problems, ...readLimits(bindings).problems]
  if (wrong.length > 0) throw new RockpoolError('ROCKPOOL_SETTINGS', `settings are missing or wrong: ${wrong.join('; ')}`)
  const { STREAM_MAX_CALLS: calls, STREAM_MAX_BYTES: bytes, RELAYS: relays, MAX_SUBSCRIPTIONS: subscriptions } = values
  return { calls, bytes, relays, subscriptions }
}

/** One stream is one invocation with one budget; when it is used up the stream ends cleanly, and the client connects again. */
export class Budget {
  #calls = 0
  #bytes = 0
  readonly #limits: StreamBudget
  readonly #spent: () => void

  constructor(limits: StreamBudget, spent: () => void) {
    this.#limits = limits
    this.#spent = spent
  }

  call(): void {
    if (++this.#calls === this.#limits.calls) this.#spent()
  }

  bytes(count: number): void {
    const before = this.#bytes
    this.#bytes += count
    if (before < this.#limits.bytes && this.#bytes >= this.#limits.bytes) this.#spent()
  }
}

/** Why a stream ended that has nothing to complain about. */
export const ended = (why: string) => new RockpoolError('PSYNC_S2003', why)
