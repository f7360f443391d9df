import { readSettings } from '../protocol/settings.ts'
import type { SettingBindings } from './bindings.ts'
import { refuseProblems } from './checked.ts'
import { COMPACTION } from './declarations.ts'

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
  const { values, problems } = readSettings(COMPACTION, bindings)
  refuseProblems(problems)
  return { afterBytes: values.COMPACTION_BYTES, seconds: values.COMPACTION_SECONDS, historyMs: values.HISTORY_SECONDS * 1_000 }
}
