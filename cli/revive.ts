const FIRST_WAIT_MS = 500
const LONGEST_WAIT_MS = 10_000

export interface Revival {
  /** The name of what is started, for people: `workerd`. */
  name: string
  /** Rejects when it did not start. */
  start(): Promise<void>
  /** Called when it is not wanted any more. */
  over(): boolean
  log(line: string): void
}

/**
 * Restarts a process that has died. A start that fails, for instance because its port is taken for a moment, is
 * repeated with longer and longer pauses until one succeeds.
 */
export async function revive({ name, start, over, log }: Revival, firstWaitMs = FIRST_WAIT_MS): Promise<void> {
  log(`${name} has died: starting it again`)
  for (let wait = firstWaitMs; !over(); wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    try {
      await start()
      if (!over()) log(`${name} runs again`)
      return
    } catch (error) {
      if (over()) return
      log(
        `${name} could not be started, the next try is in ${wait / 1000} s: ${error instanceof Error ? error.message : String(error)}`,
      )
      await new Promise((resolve) => setTimeout(resolve, wait))
    }
  }
}
