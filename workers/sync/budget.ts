import { z } from 'zod'
import type { SettingBindings } from '../../durable-objects/setting-bindings.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import { BYTE_BUDGET, SUBREQUEST_BUDGET } from './limits.ts'

/** What one stream may use; settings of the script. */
export interface StreamBudget {
  /** Calls to objects and messages of the relay. */
  calls: number
  /** Bytes of lines. */
  bytes: number
}

const limit = (preset: number) =>
  z
    .union([z.number(), z.string().regex(/^\d+$/, 'must be a number')])
    .transform(Number)
    .refine((n) => Number.isSafeInteger(n) && n >= 1, 'must be a positive whole number')
    .optional()
    .transform((value) => value ?? preset)
const shape = z.object({ STREAM_MAX_CALLS: limit(SUBREQUEST_BUDGET), STREAM_MAX_BYTES: limit(BYTE_BUDGET) })

/** Throws ROCKPOOL_SETTINGS, naming the setting. */
export function streamBudget(settings: SettingBindings): StreamBudget {
  const parsed = shape.safeParse({
    STREAM_MAX_CALLS: settings.STREAM_MAX_CALLS || undefined,
    STREAM_MAX_BYTES: settings.STREAM_MAX_BYTES || undefined,
  })
  if (parsed.success) return { calls: parsed.data.STREAM_MAX_CALLS, bytes: parsed.data.STREAM_MAX_BYTES }
  const wrong = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  throw new RockpoolError('ROCKPOOL_SETTINGS', `settings are wrong: ${wrong.join('; ')}`)
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
