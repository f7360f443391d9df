import { z } from 'zod'
import { RockpoolError } from '../../protocol/errors.ts'
import type { Environment } from '../environment.ts'
import { LOG_LIMITS } from './limits.ts'

const whole = z
  .string()
  .regex(/^\d{1,12}$/, 'must be a whole number')
  .transform(Number)

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
export function compactionSettings({ COMPACTION_BYTES, COMPACTION_SECONDS }: Environment): CompactionSettings {
  const parsed = shape.safeParse({ COMPACTION_BYTES: COMPACTION_BYTES || undefined, COMPACTION_SECONDS: COMPACTION_SECONDS || undefined })
  if (parsed.success) return { afterBytes: parsed.data.COMPACTION_BYTES, seconds: parsed.data.COMPACTION_SECONDS }
  const wrong = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  throw new RockpoolError('ROCKPOOL_SETTINGS', `settings are wrong: ${wrong.join('; ')}`)
}
