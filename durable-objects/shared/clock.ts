/** Time as a port, so that code that waits can be tested and simulated without waiting. */
export interface Clock {
  /** Returns milliseconds since 1970. */
  now(): number
  /** Calls `fire` once. Returns a function that cancels the call. */
  after(milliseconds: number, fire: () => void): () => void
  /** Calls `fire` repeatedly. Returns a function that stops it. */
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
