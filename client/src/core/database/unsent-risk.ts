import type { DatabaseStatus } from './status.ts'

/** What waits for so long may not leave before the browser deletes it: Safari does that after 7 days (2026-11). */
export const AT_RISK_MS = 24 * 3_600_000

/** Says once of each oldest write that it is in danger. */
export class UnsentRisk {
  #told: number | null = null

  /** When the oldest unsent write was made, in milliseconds since 1970; null: nothing is to be said. */
  look(
    { storage, upload: { oldestUnsentAt } }: Pick<DatabaseStatus, 'storage' | 'upload'>,
    now: number,
  ): number | null {
    if (oldestUnsentAt === null || storage.persisted === true || now - oldestUnsentAt < AT_RISK_MS) return null
    if (oldestUnsentAt === this.#told) return null
    return (this.#told = oldestUnsentAt)
  }
}
