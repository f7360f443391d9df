import { HELD_BYTES, HELD_LOOK_SECONDS, HELD_SECONDS, KNOWN_BYTES, MOST_HELD_BYTES, SILENT_SECONDS, TAKEN_BYTES } from './limits.ts'

/**
 * Where bytes of one client can lie: written for it and not taken by it yet, waiting from the relay, ops kept for its next line, ops that are being read for
 * it, and what its stream knows of its buckets.
 */
export type HeldPart = 'transport' | 'upstream' | 'tails' | 'reading' | 'known'

interface Waiting {
  held: Held
  bytes: number
  /** In milliseconds since 1970. */
  since: number
  granted: () => void
}

/**
 * What all streams of an isolate hold together: its 128 MB are shared by all of them, whatever each alone may hold. Beyond `room` nothing more is read for any
 * stream until there is room again, the oldest first. While some wait, those streams end that make no use of what they hold (`Held.stalled`) for `seconds`, the
 * longest first, and no more than are in the way. Above `most` the largest one does. What streams know stays as long as they do, so it has a part of the room
 * (`known`) and leaves the rest to reads.
 */
export class StreamMemory {
  readonly open = new Set<Held>()
  /** The most that one stream ever held, without what is being read for it; and all together. */
  peak = 0
  peakSum = 0
  #sum = 0
  #known = 0
  #granted = 0
  #looked = 0
  readonly #waiting: Waiting[] = []
  readonly #room: number
  readonly #most: number
  readonly #mostKnown: number

  constructor(room = HELD_BYTES, most = MOST_HELD_BYTES, known = KNOWN_BYTES) {
    this.#room = room
    this.#most = most
    this.#mostKnown = known
  }

  get sum(): number {
    return this.#sum
  }

  get known(): number {
    return this.#known
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** Whether streams may know so much more. */
  allows(known: number): boolean {
    if (this.#known + known > this.#mostKnown) this.#forgetDead()
    return this.#known + known <= this.#mostKnown
  }

  /** `known`: the part of it that is about what a stream knows. */
  changed(by: number, known: number): void {
    this.#sum += by
    this.#known += known
    this.peakSum = Math.max(this.peakSum, this.#sum)
    if (by < 0) this.#grant()
    while (this.#sum > this.#most && this.#endLargest((held) => held.counted)) continue
  }

  /** Resolves when so much may be read for a stream; it is counted from then on. Ends early with the signal. */
  async reserve(held: Held, bytes: number, signal: AbortSignal): Promise<void> {
    if (this.#waiting.length === 0 && this.#fits(bytes)) {
      held.grant(bytes)
      return
    }
    await new Promise<void>((resolve) => {
      const over = (): void => {
        clearInterval(timer)
        signal.removeEventListener('abort', gone)
        held.waits = false
        resolve()
      }
      const waiting: Waiting = { held, bytes, since: Date.now(), granted: over }
      const gone = (): void => {
        const at = this.#waiting.indexOf(waiting)
        if (at >= 0) this.#waiting.splice(at, 1)
        over()
        this.#grant()
      }
      // Each has a timer of its own: that of another one goes with its request. Whichever comes first looks for all.
      const timer = setInterval(() => this.#look(), HELD_LOOK_SECONDS * 1_000)
      held.waits = true
      this.#waiting.push(waiting)
      signal.addEventListener('abort', gone, { once: true })
    })
    signal.throwIfAborted()
  }

  /** Makes room for those that wait. */
  #look(): void {
    const now = Date.now()
    if (now - this.#looked < HELD_LOOK_SECONDS * 1_000) return
    this.#looked = now
    const before = now - HELD_SECONDS * 1_000
    const stalled = [...this.open].flatMap((held) => {
      const since = held.stalled
      return since !== null && since <= before ? [{ held, since }] : []
    })
    stalled.sort((a, b) => a.since - b.since)
    for (const { held } of stalled) {
      if (this.#waiting.length === 0) return
      held.end('others wait for what it does not take')
    }
    // Nobody is to blame: what is held is of streams that wait themselves, or little of very many.
    const [first] = this.#waiting
    if (!first || Math.max(first.since, this.#granted) > before) return
    while (this.#waiting[0] === first && this.#endLargest((held) => (held === first.held ? 0 : held.passing))) continue
  }

  /** What streams know that show no sign of life is not kept from others: the runtime may end an invocation without a word. */
  #forgetDead(): void {
    const before = Date.now() - SILENT_SECONDS * 1_000
    for (const held of [...this.open]) if (held.heard <= before) held.end('it shows no sign of life')
  }

  #fits(bytes: number): boolean {
    return this.#sum === this.#known || this.#sum + bytes <= this.#room
  }

  #grant(): void {
    for (let [first] = this.#waiting; first && this.#fits(first.bytes); [first] = this.#waiting) {
      this.#waiting.shift()
      this.#granted = Date.now()
      first.granted()
      first.held.grant(first.bytes)
    }
  }

  /** Ends the stream that has most of it. False: there is none that has any. */
  #endLargest(of: (held: Held) => number): boolean {
    let largest: Held | null = null
    for (const held of this.open) if (of(held) > (largest ? of(largest) : 0)) largest = held
    largest?.end('this isolate holds too much for its clients')
    return largest !== null
  }
}

/** Of this isolate. */
const memory = new StreamMemory()

/** Counts what one stream holds for its client in memory, in bytes. This is what back-pressure keeps small. */
export class Held {
  readonly #parts: Record<HeldPart, number> = { transport: 0, upstream: 0, tails: 0, reading: 0, known: 0 }
  readonly #memory: StreamMemory
  readonly #slack: number
  readonly #ended = Promise.withResolvers<string>()
  #downloading = false
  #closed = false
  #counted = 0
  #countedKnown = 0
  /** Waits for room. */
  waits = false
  /** When the client last took as much as one that reads takes, or was given room, in milliseconds since 1970; and what it took since. */
  #since = Date.now()
  #taken = 0
  /** The last sign of life of whoever runs it, in milliseconds since 1970. */
  heard = Date.now()

  /** `slack`: so many bytes that a client has already may be missing from its account, for as long as it gets nothing more. */
  constructor(slack = 0, of: StreamMemory = memory) {
    this.#slack = slack
    this.#memory = of
    of.open.add(this)
  }

  /** Resolves with the reason when the stream must end. Whoever runs it listens: it alone may touch what belongs to its request. */
  get ended(): Promise<string> {
    return this.#ended.promise
  }

  /** What back-pressure is about: without what is being read, and what is known. */
  get bytes(): number {
    return this.#parts.transport + this.#parts.upstream + this.#parts.tails
  }

  /** Its part of the isolate's sum; and of what all streams know. */
  get counted(): number {
    return this.#counted
  }

  get known(): number {
    return this.#countedKnown
  }

  /** The rest: what goes when its client takes it. */
  get passing(): number {
    return this.#counted - this.#countedKnown
  }

  /**
   * Since when it makes no use of what it holds, in milliseconds since 1970; null: it holds next to nothing. That it waits for room itself is not its client's doing, unless
   * that has not taken what it surely would have told.
   */
  get stalled(): number | null {
    const ours = this.waits && this.#parts.transport <= this.#slack
    return !ours && this.passing >= TAKEN_BYTES ? this.#since : null
  }

  /** From the first read for a checkpoint to its end. */
  set downloading(downloading: boolean) {
    this.#downloading = downloading
    this.#count()
  }

  set(part: HeldPart, bytes: number): void {
    if (this.#closed) return
    const before = this.#parts[part]
    if (this.passing === 0) this.#moves()
    this.#parts[part] = bytes
    if (part === 'transport') {
      this.#taken += Math.max(0, before - bytes)
      if (this.#taken >= TAKEN_BYTES || (before > 0 && bytes === 0)) this.#moves()
      // What is on its way is not being read any more.
      this.#parts.reading = Math.max(0, this.#parts.reading - Math.max(0, bytes - before))
    }
    this.#memory.peak = Math.max(this.#memory.peak, this.bytes)
    this.#count()
  }

  alive(): void {
    this.heard = Date.now()
  }

  /** What the stream knows of its buckets, in bytes. False: there is no room for so much more, and nothing has changed. */
  know(bytes: number): boolean {
    const more = bytes - this.#parts.known
    if (more > 0 && !this.#memory.allows(more)) return false
    this.set('known', bytes)
    return true
  }

  /** Waits until so much may be read for it. */
  reserve(bytes: number, signal: AbortSignal): Promise<void> {
    return this.#memory.reserve(this, bytes, signal)
  }

  grant(bytes: number): void {
    this.#moves()
    this.set('reading', bytes)
  }

  #moves(): void {
    this.#since = Date.now()
    this.#taken = 0
  }

  end(why: string): void {
    this.close()
    this.#ended.resolve(why)
  }

  /** The stream is over. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#memory.open.delete(this)
    this.#count()
  }

  #count(): void {
    const { transport, upstream, tails, reading, known } = this.#parts
    const lying = this.#downloading ? transport : Math.max(0, transport - this.#slack)
    const counted = this.#closed ? 0 : lying + upstream + tails + reading + known
    const change = counted - this.#counted
    const knownChange = (this.#closed ? 0 : known) - this.#countedKnown
    this.#counted = counted
    this.#countedKnown += knownChange
    if (change !== 0) this.#memory.changed(change, knownChange)
  }
}

/** Of this isolate: open streams, bytes held for all of them, the most that was ever held for one, and what all of them know of their buckets, in bytes. */
export function heldStatus(): { open: number; heldBytes: number; peakHeldBytes: number; knownBytes: number } {
  let heldBytes = 0
  for (const held of memory.open) heldBytes += held.bytes
  return { open: memory.open.size, heldBytes, peakHeldBytes: memory.peak, knownBytes: memory.known }
}
