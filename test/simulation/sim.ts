import { answered } from '../../durable-objects/shared/retry.ts'

/**
 * A scheduler in which a seed decides what happens next: messages of one channel stay in order, everything else may
 * overtake.
 */
export class Sim {
  readonly #channels = new Map<string, (() => void)[]>()
  /** Those with something in them. */
  readonly #waiting: string[] = []
  /** Channels that are slow: the chance that one is served when its turn comes. */
  readonly #slow = new Map<string, number>()
  #state: number
  #names = 0
  steps = 0
  /** Chance that a call is lost, on its way or on its way back. */
  loss = 0
  /** Chance that what is lost is never answered, in place of an error. */
  hangs = 0.3
  /** Chance that a channel is slow. */
  unevenness = 0.3

  constructor(seed: number) {
    this.#state = (seed * 2654435761) >>> 0 || 1
  }

  random(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  int(n: number): number {
    return Math.floor(this.random() * n)
  }

  chance(p: number): boolean {
    return this.random() < p
  }

  channel(): string {
    return `c${++this.#names}`
  }

  /** A channel that may be much slower than the others. */
  unevenChannel(): string {
    const channel = this.channel()
    if (this.chance(this.unevenness)) this.#slow.set(channel, this.chance(0.5) ? 0.1 : 0.01)
    return channel
  }

  #lastChannel(): string {
    const channel = this.channel()
    this.#slow.set(channel, 0)
    return channel
  }

  post(channel: string, task: () => void): void {
    const queue = this.#channels.get(channel)
    if (queue) queue.push(task)
    else {
      this.#channels.set(channel, [task])
      this.#waiting.push(channel)
    }
  }

  /** Later, at some time. */
  later(task: () => void): void {
    this.post(this.channel(), task)
  }

  sleep(): Promise<void> {
    return new Promise((resolve) => this.later(resolve))
  }

  /**
   * A call to another object: it may fail before or after it took effect, or is never answered. Its deadline passes
   * only then. `last`: behind everything else.
   */
  rpc<T>(call: () => T, last = false): Promise<T> {
    let expire = () => {}
    const timers = { set: (fire: () => void) => (expire = fire), clear: () => {} }
    const lose = (reject: (error: Error) => void, what: string) =>
      this.later(() => (this.chance(this.hangs) ? this.later(expire) : reject(new Error(what))))
    const attempt = () =>
      new Promise<T>((resolve, reject) => {
        this.post(last ? this.#lastChannel() : this.unevenChannel(), () => {
          if (this.chance(this.loss)) return lose(reject, 'lost')
          let result: T
          try {
            result = call()
          } catch (error) {
            return this.later(() => reject(error))
          }
          if (this.chance(this.loss)) lose(reject, 'the reply was lost')
          else this.later(() => resolve(result))
        })
      })
    return answered(attempt, 1, timers)
  }

  /** Runs until nothing is left to do, or for so many steps. True: nothing is left. */
  async run(steps: number): Promise<boolean> {
    for (let i = 0; i < steps; i++) {
      await settled()
      if (this.#waiting.length === 0) return true
      let at = this.int(this.#waiting.length)
      for (let tries = 0; tries < 40 && this.#isLate(at); tries++) at = this.int(this.#waiting.length)
      const name = this.#waiting[at] ?? ''
      const queue = this.#channels.get(name)
      const task = queue?.shift()
      if (queue?.length === 0) {
        this.#channels.delete(name)
        const last = this.#waiting.pop()
        if (last !== undefined && at < this.#waiting.length) this.#waiting[at] = last
      }
      this.steps++
      task?.()
    }
    return false
  }

  #isLate(at: number): boolean {
    const chance = this.#slow.get(this.#waiting[at] ?? '')
    return chance !== undefined && !this.chance(chance)
  }
}

/** When every promise that can go on has gone on: ticks come after microtasks, and before anything else. */
export const settled = (): Promise<void> => new Promise((resolve) => process.nextTick(resolve))

/** Two ends of a socket: ordered in each direction, may be cut. */
export class End<Out, In> {
  readonly #sim: Sim
  readonly #channel: string
  peer: End<In, Out> | null = null
  closed = false
  onClose: () => void = () => {}
  #onMessage: ((message: In) => void) | null = null
  readonly #early: In[] = []

  private constructor(sim: Sim) {
    this.#sim = sim
    this.#channel = sim.unevenChannel()
  }

  static pair<A, B>(sim: Sim): [End<A, B>, End<B, A>] {
    const a = new End<A, B>(sim)
    const b = new End<B, A>(sim)
    a.peer = b
    b.peer = a
    return [a, b]
  }

  /** What came before anybody listened is delivered then, as an accepted socket does. */
  set onMessage(listener: (message: In) => void) {
    this.#onMessage = listener
    for (const message of this.#early.splice(0)) listener(message)
  }

  #receive(message: In): void {
    if (this.closed) return
    if (this.#onMessage) this.#onMessage(message)
    else this.#early.push(message)
  }

  send(message: Out): void {
    const peer = this.peer
    if (this.closed || !peer) return
    this.#sim.post(this.#channel, () => peer.#receive(message))
  }

  /** Orderly: what was sent before arrives. */
  close(): void {
    const peer = this.peer
    if (this.closed || !peer) return
    this.closed = true
    this.#sim.post(this.#channel, () => peer.fall())
  }

  /** Both ends notice, at different times; a deaf peer never does. */
  cut(deafPeer = false): void {
    const peer = this.peer
    if (!peer) return
    this.#sim.later(() => this.fall())
    if (!deafPeer) this.#sim.later(() => peer.fall())
  }

  /** This side is gone at once, without noticing; the other notices later. */
  kill(): void {
    this.closed = true
    const peer = this.peer
    if (peer) this.#sim.later(() => peer.fall())
  }

  fall(): void {
    if (this.closed) return
    this.closed = true
    this.onClose()
  }
}
