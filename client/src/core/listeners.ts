/**
 * Listeners are the application's: what one of them throws is reported and reaches nobody else, least of all the write
 * or download that called it.
 */
export class Listeners<Events extends object> {
  readonly #sets = new Map<keyof Events, Set<(value: never) => void>>()

  on<E extends keyof Events>(event: E, listener: (value: Events[E]) => void): () => void {
    const set = this.#sets.get(event) ?? new Set()
    this.#sets.set(event, set.add(listener))
    return () => void set.delete(listener)
  }

  emit<E extends keyof Events>(event: E, value: Events[E]): void {
    for (const listener of [...(this.#sets.get(event) ?? [])])
      guarded(() => (listener as (value: Events[E]) => void)(value))
  }
}

export function guarded(call: () => void): void {
  try {
    call()
  } catch (error) {
    console.error('rockpool: a callback of the application failed', error)
  }
}
