import { readSettings } from '../protocol/settings.ts'
import type { SettingBindings } from './bindings.ts'
import { refuseProblems } from './checked.ts'
import { COMPACTION } from './declarations.ts'

export interface CompactionSettings {
  /** How many bytes must arrive before a compaction begins; see `LogLimits`. */
  afterBytes: number
  /** How long it then waits, so that ops that arrive together are compacted together. */
  seconds: number
  /** How long superseded ops are kept; see `LogLimits`. */
  historyMs: number
}

/** Throws ROCKPOOL_SETTINGS. */
export function compactionSettings(bindings: SettingBindings): CompactionSettings {
  const { values, problems } = readSettings(COMPACTION, bindings)
  refuseProblems(problems)
  return {
    afterBytes: values.COMPACTION_BYTES,
    seconds: values.COMPACTION_SECONDS,
    historyMs: values.HISTORY_SECONDS * 1_000,
  }
}
