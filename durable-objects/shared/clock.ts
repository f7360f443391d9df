/** Time, for what is also tested and simulated without it. */
export interface Clock {
  /** In ms since 1970. */
  now(): number
  /** Calls `fire` once. Returns what prevents that. */
  after(milliseconds: number, fire: () => void): () => void
  /** Calls `fire` again and again. Returns what ends that. */
  every(milliseconds: number, fire: () => void): () => void
}

export const CLOCK: Clock = {
  now: () => Date.now(),
  after(milliseconds, fire) {
    const timer = setTimeout(fire, milliseconds)
    return () => clearTimeout(timer)
  },
  every(milliseconds, fire) {
    const timer = setInterval(fire, milliseconds)
    return () => clearInterval(timer)
  },
}
