import { MAX_BUCKETS_PER_ROW, MAX_BYTES_PER_ROW } from '../limits.ts'
import { EvaluationFailure } from '../expressions/values.ts'
import type { EvaluationError } from '../types.ts'

/** No plan that has the query may put the row into one more bucket. */
export class RowTooMuch extends EvaluationFailure {}

interface Spent {
  buckets: number
  bytes: number
  passed: EvaluationError | null
}

/**
 * What one source row takes of what it may, counted while it is evaluated. Of several plans each has its own count: a plan that is being deployed
 * must not take away what the one that serves gives.
 */
export class RowBudget {
  readonly #spent: Spent[]

  constructor(plans: number) {
    this.#spent = Array.from({ length: plans }, () => ({ buckets: 0, bytes: 0, passed: null }))
  }

  /** One more bucket, with so many bytes, of a query of these plans; before it is made. Throws RowTooMuch. */
  take(plans: readonly number[], bytes: number, where: string): void {
    for (const plan of plans) {
      const spent = this.#spent[plan]
      if (!spent || spent.passed) continue
      spent.buckets++
      spent.bytes += bytes
      const message =
        spent.buckets > MAX_BUCKETS_PER_ROW
          ? `the row is left out: it would be in more than ${MAX_BUCKETS_PER_ROW} buckets`
          : // A row in one bucket has a limit of its own.
            spent.buckets > 1 && spent.bytes > MAX_BYTES_PER_ROW
            ? `the row is left out: in ${spent.buckets} buckets or more it would be more than ${MAX_BYTES_PER_ROW} bytes`
            : null
      if (message !== null) spent.passed = { where, message }
    }
    if (this.exhausted(plans)) throw new RowTooMuch('the row takes too much')
  }

  /** Whether no plan that has the query has the row. */
  exhausted(plans: readonly number[]): boolean {
    return plans.every((plan) => this.#spent[plan]?.passed)
  }

  /** Why plans do not have the row. */
  get passed(): EvaluationError[] {
    return [...new Map(this.#spent.flatMap(({ passed }) => (passed ? [[passed.where + passed.message, passed] as const] : []))).values()]
  }
}
