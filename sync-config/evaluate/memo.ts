import { EvaluationFailure } from '../expressions/values.ts'

type Result = { value: unknown } | { failure: EvaluationFailure }

/**
 * Caches what is computed once for a request, however often expressions use it: parsed JSON, values, the elements of
 * arrays. Results that depend on the parameters of a subscription are kept only for that subscription.
 */
export class RequestMemo {
  readonly #ofRequest = new Map<string, Result>()
  #ofSubscription = new Map<string, Result>()

  /** Called before the next subscription is evaluated. */
  next(): void {
    if (this.#ofSubscription.size > 0) this.#ofSubscription = new Map()
  }

  /** `key` names the result of `make`; `own` means that it depends on the subscription. A failure is cached too. */
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
