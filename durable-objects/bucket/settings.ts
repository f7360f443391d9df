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
})

export interface CompactionSettings {
  /** What must have come before a compaction begins, see `LogLimits`. */
  afterBytes: number
  /** How long it then waits: what comes together is compacted together. */
  seconds: number
}

/** Throws ROCKPOOL_SETTINGS. */
export function compactionSettings({ COMPACTION_BYTES, COMPACTION_SECONDS }: SettingBindings): CompactionSettings {
  const given = (binding: string | number | undefined) => (binding === '' ? undefined : binding)
  const parsed = shape.safeParse({ COMPACTION_BYTES: given(COMPACTION_BYTES), COMPACTION_SECONDS: given(COMPACTION_SECONDS) })
  if (parsed.success) return { afterBytes: parsed.data.COMPACTION_BYTES, seconds: parsed.data.COMPACTION_SECONDS }
  const wrong = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  throw new RockpoolError('ROCKPOOL_SETTINGS', `settings are wrong: ${wrong.join('; ')}`)
}
