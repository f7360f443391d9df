import { z } from 'zod'
import type { SettingBindings } from '../../durable-objects/setting-bindings.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import { readLimits } from '../../sync-config/limits.ts'
import { BYTE_BUDGET, MAX_RELAYS, MOST_SUBSCRIPTIONS, SUBREQUEST_BUDGET, SUBSCRIPTIONS } from './limits.ts'

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

const whole = (preset: number, most = Number.MAX_SAFE_INTEGER) =>
  z
    .union([z.number(), z.string().regex(/^\d+$/, 'must be a number')])
    .transform(Number)
    .refine(
      (n) => Number.isInteger(n) && n >= 1 && n <= most,
      most === Number.MAX_SAFE_INTEGER ? 'must be a positive whole number' : `must be 1 to ${most}`,
    )
    .optional()
    .transform((value) => value ?? preset)
const shape = z.object({
  STREAM_MAX_CALLS: whole(SUBREQUEST_BUDGET),
  STREAM_MAX_BYTES: whole(BYTE_BUDGET),
  RELAYS: whole(1, MAX_RELAYS),
  MAX_SUBSCRIPTIONS: whole(SUBSCRIPTIONS, MOST_SUBSCRIPTIONS),
})

/** Throws ROCKPOOL_SETTINGS, naming the setting, also for those limits of the tenant that count when a plan is loaded. */
export function streamSettings(settings: SettingBindings): StreamSettings {
  const parsed = shape.safeParse({
    STREAM_MAX_CALLS: settings.STREAM_MAX_CALLS || undefined,
    STREAM_MAX_BYTES: settings.STREAM_MAX_BYTES || undefined,
    RELAYS: settings.RELAYS || undefined,
    MAX_SUBSCRIPTIONS: settings.MAX_SUBSCRIPTIONS || undefined,
  })
  const { problems } = readLimits(settings)
  if (parsed.success && problems.length === 0) {
    const { STREAM_MAX_CALLS: calls, STREAM_MAX_BYTES: bytes, RELAYS: relays, MAX_SUBSCRIPTIONS: subscriptions } = parsed.data
    return { calls, bytes, relays, subscriptions }
  }
  const wrong = (parsed.error?.issues ?? []).map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  throw new RockpoolError('ROCKPOOL_SETTINGS', `settings are wrong: ${[...wrong, ...problems].join('; ')}`)
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
