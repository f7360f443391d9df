import { EvaluationFailure } from '../expressions/values.ts'

type Result = { value: unknown } | { failure: EvaluationFailure }

/**
 * What of a request is computed once, however often expressions ask for it: JSON that is parsed, values, arrays that are walked. What depends on
 * the parameters of a subscription is kept for that one.
 */
export class RequestMemo {
  readonly #ofRequest = new Map<string, Result>()
  #ofSubscription = new Map<string, Result>()

  /** The next subscription is evaluated. */
  next(): void {
    if (this.#ofSubscription.size > 0) this.#ofSubscription = new Map()
  }

  /** `key` names what `make` answers, `own` that it depends on the subscription. A failure is kept as well. */
  get<T>(key: string, own: boolean, make: () => T): T {
    const kept = own ? this.#ofSubscription : this.#ofRequest
    let result = kept.get(key)
    if (!result) {
      try {
        result = { value: make() }
      } catch (error) {
        if (!(error instanceof EvaluationFailure)) throw error
        result = { failure: error }
      }
      kept.set(key, result)
    }
    if ('failure' in result) throw result.failure
    return result.value as T
  }
}
