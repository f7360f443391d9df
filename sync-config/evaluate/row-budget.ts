import { MAX_BUCKETS_PER_ROW, MAX_BYTES_PER_ROW } from '../limits.ts'
import { EvaluationFailure } from '../expressions/values.ts'
import type { EvaluationError } from '../types.ts'

/** Thrown when no plan that has the query may put the row into one more bucket. */
export class RowTooMuch extends EvaluationFailure {}

/**
 * Counts what one source row uses of its limits while it is evaluated. Each plan has its own count: a plan that is
 * being deployed must not remove rows from the one that serves.
 */
export class RowBudget {
  /** By plan. */
  readonly #buckets: number[] = []
  readonly #bytes: number[] = []
  #reasons: Map<number, EvaluationError> | null = null

  /** Counts one more bucket of a query of these plans, with its content, before it is made. Throws RowTooMuch. */
  take(plans: readonly number[], data: string, where: string): void {
    const bytes = Buffer.byteLength(data)
    for (const plan of plans) {
      if (this.#reasons?.has(plan)) continue
      const buckets = (this.#buckets[plan] = (this.#buckets[plan] ?? 0) + 1)
      const all = (this.#bytes[plan] = (this.#bytes[plan] ?? 0) + bytes)
      if (buckets > MAX_BUCKETS_PER_ROW) {
        this.#pass(plan, where, `it would be in more than ${MAX_BUCKETS_PER_ROW} buckets`)
      } else if (all > MAX_BYTES_PER_ROW && buckets > 1) {
        // A row in a single bucket has its own limit.
        this.#pass(plan, where, `in ${buckets} buckets or more it would be more than ${MAX_BYTES_PER_ROW} bytes`)
      }
    }
    if (this.exhausted(plans)) throw new RowTooMuch('the row takes too much')
  }

  #pass(plan: number, where: string, reason: string): void {
    this.#reasons ??= new Map()
    this.#reasons.set(plan, { where, message: `the row is left out: ${reason}` })
  }

  /** Returns whether none of the query's plans has the row. */
  exhausted(plans: readonly number[]): boolean {
    const reasons = this.#reasons
    return reasons !== null && plans.every((plan) => reasons.has(plan))
  }

  /** Returns why plans do not have the row, each reason once. */
  get passed(): EvaluationError[] {
    if (!this.#reasons) return []
    return [
      ...new Map(Array.from(this.#reasons.values(), (reason) => [reason.where + reason.message, reason])).values(),
    ]
  }
}
