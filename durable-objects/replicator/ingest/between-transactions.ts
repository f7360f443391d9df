import type { Batch } from './batch.ts'
import type { Intake } from './intake.ts'

/** A session, as what is done between two transactions needs it. */
export interface Pausing {
  intake: Intake
  /** Resolves when there is room for further batches. */
  room(): Promise<void>
  /** Waits; rejects when the session is over. */
  pause(milliseconds: number): Promise<void>
}

/** Applies something between two transactions as a batch of its own; `stored` follows in the same turn. */
export async function betweenTransactions(
  { intake, room, pause }: Pausing,
  work: (batch: Batch, settle: Intake['settle']) => void,
  stored: () => void = () => {},
): Promise<void> {
  await room()
  while (!intake.isBetween) await pause(1)
  // What is taken in and not stored counts as well.
  intake.flush()
  intake.between(work)
  stored()
}
