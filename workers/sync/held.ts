import { HELD_BYTES, HELD_SECONDS, MOST_HELD_BYTES } from './limits.ts'

/**
 * Where bytes of one client can lie: written for it and not taken by it yet, waiting from the relay, ops kept for its next line, and ops that are being read for
 * it.
 */
export type HeldPart = 'transport' | 'upstream' | 'tails' | 'reading'

interface Waiting {
  held: Held
  bytes: number
  granted: () => void
}

/**
 * What all streams of an isolate hold together: its 128 MB are shared by all of them, whatever each alone may hold. Beyond `room` nothing more is read for any
 * stream until there is room again, the oldest first. When there is none for `seconds`, the stream ends that has taken nothing for the longest time; above
 * `most` the largest one does.
 */
export class StreamMemory {
  readonly open = new Set<Held>()
  /** The most that one stream ever held, without what is being read for it; and all together. */
  peak = 0
  peakSum = 0
  #sum = 0
  #ticks = 0
  #grants = 0
  readonly #waiting: Waiting[] = []
  readonly #room: number
  readonly #most: number
  readonly #seconds: number

  constructor(room = HELD_BYTES, most = MOST_HELD_BYTES, seconds = HELD_SECONDS) {
    this.#room = room
    this.#most = most
    this.#seconds = seconds
  }

  get sum(): number {
    return this.#sum
  }

  get waiting(): number {
    return this.#waiting.length
  }

  tick(): number {
    return ++this.#ticks
  }

  changed(by: number): void {
    this.#sum += by
    this.peakSum = Math.max(this.peakSum, this.#sum)
    if (by < 0) this.#grant()
    while (this.#sum > this.#most && this.#end((held) => held.counted, 'this isolate holds too much for its clients')) continue
  }

  /** Resolves when so much may be read for a stream; it is counted from then on. Ends early with the signal. */
  async reserve(held: Held, bytes: number, signal: AbortSignal): Promise<void> {
    if (this.#waiting.length === 0 && this.#fits(bytes)) {
      held.set('reading', bytes)
      return
    }
    await new Promise<void>((resolve) => {
      let timer: ReturnType<typeof setTimeout>
      const over = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', gone)
        resolve()
      }
      const waiting: Waiting = { held, bytes, granted: over }
      const gone = (): void => {
        const at = this.#waiting.indexOf(waiting)
        if (at >= 0) this.#waiting.splice(at, 1)
        over()
        this.#grant()
      }
      const arm = (): void => {
        const grants = this.#grants
        timer = setTimeout(() => {
          // The first one speaks for all.
          if (this.#grants === grants && this.#waiting[0] === waiting) {
            this.#end((each) => this.#idleness(each), 'others wait for what it does not take')
          }
          arm()
        }, this.#seconds * 1_000)
      }
      this.#waiting.push(waiting)
      signal.addEventListener('abort', gone, { once: true })
      arm()
    })
    signal.throwIfAborted()
  }

  /** Who waits as well is the last to go. */
  #idleness(held: Held): number {
    if (held.counted === 0) return 0
    return this.#waiting.some((each) => each.held === held) ? 0.5 : this.#ticks + 1 - held.taken
  }

  #fits(bytes: number): boolean {
    return this.#sum === 0 || this.#sum + bytes <= this.#room
  }

  #grant(): void {
    for (let [first] = this.#waiting; first && this.#fits(first.bytes); [first] = this.#waiting) {
      this.#waiting.shift()
      this.#grants++
      first.held.set('reading', first.bytes)
      first.granted()
    }
  }

  /** Ends the stream of the highest weight. False: there is none that has any. */
  #end(weight: (held: Held) => number, why: string): boolean {
    let heaviest: { held: Held; weight: number } | null = null
    for (const held of this.open) {
      const own = weight(held)
      if (own > (heaviest?.weight ?? 0)) heaviest = { held, weight: own }
    }
    heaviest?.held.end(why)
    return heaviest !== null
  }
}

/** Of this isolate. */
const memory = new StreamMemory()

/** Counts what one stream holds for its client in memory, in bytes. This is what back-pressure keeps small. */
export class Held {
  readonly #parts: Record<HeldPart, number> = { transport: 0, upstream: 0, tails: 0, reading: 0 }
  readonly #memory: StreamMemory
  readonly #slack: number
  readonly #ended = Promise.withResolvers<string>()
  #downloading = false
  #closed = false
  #counted = 0
  /** When the client last took something, as a number that grows. */
  taken: number

  /** `slack`: so many bytes that a client has already may be missing from its account, for as long as it gets nothing more. */
  constructor(slack = 0, of: StreamMemory = memory) {
    this.#slack = slack
    this.#memory = of
    this.taken = of.tick()
    of.open.add(this)
  }

  /** Resolves with the reason when the stream must end. Whoever runs it listens: it alone may touch what belongs to its request. */
  get ended(): Promise<string> {
    return this.#ended.promise
  }

  get bytes(): number {
    return this.#parts.transport + this.#parts.upstream + this.#parts.tails
  }

  /** Its part of the isolate's sum. */
  get counted(): number {
    return this.#counted
  }

  /** From the first read for a checkpoint to its end. */
  set downloading(downloading: boolean) {
    this.#downloading = downloading
    this.#count()
  }

  set(part: HeldPart, bytes: number): void {
    if (this.#closed) return
    const before = this.#parts[part]
    if (part === 'transport' && (bytes < before || before === 0)) this.taken = this.#memory.tick()
    this.#parts[part] = bytes
    // What is on its way is not being read any more.
    if (part === 'transport' && bytes > before) this.#parts.reading = Math.max(0, this.#parts.reading - (bytes - before))
    this.#memory.peak = Math.max(this.#memory.peak, this.bytes)
    this.#count()
  }

  /** Waits until so much may be read for it. */
  reserve(bytes: number, signal: AbortSignal): Promise<void> {
    return this.#memory.reserve(this, bytes, signal)
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
    const { transport, upstream, tails, reading } = this.#parts
    const lying = this.#downloading ? transport : Math.max(0, transport - this.#slack)
    const counted = this.#closed ? 0 : lying + upstream + tails + reading
    const change = counted - this.#counted
    this.#counted = counted
    if (change !== 0) this.#memory.changed(change)
  }
}

/** Of this isolate: open streams, bytes held for all of them, and the most that was ever held for one. */
export function heldStatus(): { open: number; heldBytes: number; peakHeldBytes: number } {
  let heldBytes = 0
  for (const held of memory.open) heldBytes += held.bytes
  return { open: memory.open.size, heldBytes, peakHeldBytes: memory.peak }
}
