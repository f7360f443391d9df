/** Returns a generator of numbers in [0, 1), which are the same for the same seed (mulberry32). */
export function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A repeatable source of choices. */
export class Random {
  /** Returns a number in [0, 1). */
  readonly next: () => number

  constructor(seed: number) {
    this.next = generator(seed)
  }

  /** Returns an integer from 0 to below - 1. */
  int(below: number): number {
    return Math.floor(this.next() * below)
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(list: readonly T[]): T {
    const value = list[this.int(list.length)]
    if (value === undefined) throw new Error('nothing to pick from')
    return value
  }

  /** Returns one of several values, by weight. */
  weighted<T>(list: readonly (readonly [weight: number, value: T])[]): T {
    let at = this.next() * list.reduce((sum, [weight]) => sum + weight, 0)
    for (const [weight, value] of list) if ((at -= weight) < 0) return value
    return this.pick(list)[1]
  }
}
