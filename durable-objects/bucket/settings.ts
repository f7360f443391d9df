import { z } from 'zod'
import { RockpoolError } from '../../protocol/errors.ts'
import type { SettingBindings } from '../setting-bindings.ts'
import { LOG_LIMITS } from './limits.ts'

const WRONG = 'must be a whole number'

/** Bindings are texts, or numbers when they stand in `[vars]`. */
const whole = z
  .union([z.number(), z.string().regex(/^\d{1,12}$/, WRONG)])
  .transform(Number)
  .refine((n) => Number.isSafeInteger(n) && n >= 0, WRONG)

const shape = z.object({
  COMPACTION_BYTES: whole.default(LOG_LIMITS.afterBytes),
  COMPACTION_SECONDS: whole.default(60),
  HISTORY_SECONDS: whole.default(LOG_LIMITS.historyMs / 1_000),
})

export interface CompactionSettings {
  /** What must have come before a compaction begins, see `LogLimits`. */
  afterBytes: number
  /** How long it then waits: what comes together is compacted together. */
  seconds: number
  /** After how long ops go that others supersede, see `LogLimits`. */
  historyMs: number
}

/** Throws ROCKPOOL_SETTINGS. */
export function compactionSettings(bindings: SettingBindings): CompactionSettings {
  const given = Object.keys(shape.shape).map((name) => [name, bindings[name as keyof typeof shape.shape]])
  const parsed = shape.safeParse(Object.fromEntries(given.filter(([, binding]) => binding !== '')))
  if (parsed.success) {
    const { COMPACTION_BYTES, COMPACTION_SECONDS, HISTORY_SECONDS } = parsed.data
    return { afterBytes: COMPACTION_BYTES, seconds: COMPACTION_SECONDS, historyMs: HISTORY_SECONDS * 1_000 }
  }
  const wrong = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  throw new RockpoolError('ROCKPOOL_SETTINGS', `settings are wrong: ${wrong.join('; ')}`)
}
