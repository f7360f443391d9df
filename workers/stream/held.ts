import {
  HELD_BYTES,
  HELD_LOOK_SECONDS,
  HELD_SECONDS,
  KNOWN_BYTES,
  MOST_HELD_BYTES,
  SILENT_SECONDS,
  TAKEN_BYTES,
} from './limits.ts'
import { Pool, TenantPools } from '../shares/pool.ts'

// The file is long because it is one queue, whose fairness depends on all of its parts.

/**
 * Where bytes of one client can be: written but not yet received by it, waiting messages of the relay, ops kept for its
 * next line, ops that are being read for it, and what its stream knows about its buckets.
 */
export type HeldPart = 'transport' | 'upstream' | 'tails' | 'reading' | 'known'

interface Waiting {
  held: Held
  bytes: number
  /** Returns milliseconds since 1970. */
  since: number
  granted: () => void
}

/**
 * The memory that all streams of an isolate hold together: they share its 128 MB, whatever each may hold by itself.
 * Above `room`, nothing more is read for any stream until there is room again; the oldest waiter is first. While
 * streams wait, others end that have made no use of what they hold (`Held.stalled`) for `seconds`: the longest stalled
 * first, and no more than necessary. Above `most`, the largest stream ends. What streams know stays for as long as they
 * run, so it has its own part of the room (`known`), and the rest is for reads. Where tenants share isolates, all of
 * this also holds for each of them with its part of these limits: who waits for room of its own tenant keeps no other
 * tenant waiting, and only streams of its own tenant end for it.
 */
export class StreamMemory {
  readonly open = new Set<Held>()
  /**
   * The most that one stream has ever held, without what is being read for it; and the most that all have held
   * together.
   */
  peak = 0
  peakSum = 0
  readonly tenants: TenantPools
  readonly #isolate: Pool
  #looked = 0
  readonly #waiting: Waiting[] = []

  constructor(room = HELD_BYTES, most = MOST_HELD_BYTES, known = KNOWN_BYTES) {
    this.#isolate = new Pool({ room, most, known })
    this.tenants = new TenantPools(this.#isolate.limits)
  }

  get sum(): number {
    return this.#isolate.sum
  }

  get known(): number {
    return this.#isolate.known
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** Returns whether a stream of this tenant may know this many bytes more. */
  allows(known: number, tenant: Pool | null): boolean {
    const allows = () => this.#isolate.allows(known) && (tenant?.allows(known) ?? true)
    if (!allows()) this.#forgetDead()
    return allows()
  }

  /** `known` is the part of the change that concerns what a stream knows. */
  changed(by: number, known: number, tenant: Pool | null): void {
    for (const pool of tenant === null ? [this.#isolate] : [this.#isolate, tenant]) {
      pool.sum += by
      pool.known += known
    }
    this.peakSum = Math.max(this.peakSum, this.sum)
    if (by < 0) this.#grant()
    while (tenant?.isOver && this.#endLargest((held) => (held.tenant === tenant ? held.counted : 0))) continue
    while (this.#isolate.isOver && this.#endLargest((held) => held.counted)) continue
  }

  /** Resolves when this much may be read for a stream; it is counted from then on. Ends early with the signal. */
  async reserve(held: Held, bytes: number, signal: AbortSignal): Promise<void> {
    const isFree = this.#isolate.fits(bytes) && (held.tenant?.fits(bytes) ?? true)
    if (isFree && this.#heads().every(({ waiting, pool }) => pool !== this.#isolate && !isOf(waiting, held.tenant))) {
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
      // Each waiter has its own timer, because a timer ends with its request. The first one that fires checks for all.
      const timer = setInterval(() => this.#look(), HELD_LOOK_SECONDS * 1_000)
      held.waits = true
      this.#waiting.push(waiting)
      signal.addEventListener('abort', gone, { once: true })
    })
    signal.throwIfAborted()
  }

  /** Makes room for streams that wait. */
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
      const heads = this.#heads()
      if (heads.length === 0) return
      if (heads.some(({ waiting, pool }) => pool === this.#isolate || isOf(waiting, held.tenant)))
        held.end('others wait for what it does not take')
    }
    // No stream is stalled: the memory is held by streams that wait themselves, or in small parts by very many.
    for (const { waiting, pool } of this.#heads()) {
      if (Math.max(waiting.since, pool.granted) > before) continue
      const passing = (held: Held): number =>
        held === waiting.held || (pool !== this.#isolate && held.tenant !== pool) ? 0 : held.passing
      while (this.#waiting.includes(waiting) && this.#endLargest(passing)) continue
    }
  }

  /** Frees what streams without a sign of life know: the runtime may end an invocation without telling us. */
  #forgetDead(): void {
    const before = Date.now() - SILENT_SECONDS * 1_000
    for (const held of [...this.open]) if (held.heard <= before) held.end('it shows no sign of life')
  }

  /**
   * Returns who waits for room of a pool, and is next there: of each tenant that has none the oldest waiter, and the
   * oldest of all others, who waits for the isolate.
   */
  #heads(): { waiting: Waiting; pool: Pool }[] {
    const heads: { waiting: Waiting; pool: Pool }[] = []
    const full = new Set<Pool>()
    for (const waiting of this.#waiting) {
      const { tenant } = waiting.held
      if (tenant !== null && full.has(tenant)) continue
      if (tenant === null || tenant.fits(waiting.bytes)) return [...heads, { waiting, pool: this.#isolate }]
      full.add(tenant)
      heads.push({ waiting, pool: tenant })
    }
    return heads
  }

  #grant(): void {
    for (;;) {
      const head = this.#heads().at(-1)
      if (head?.pool !== this.#isolate || !this.#isolate.fits(head.waiting.bytes)) return
      const { held, bytes, granted } = head.waiting
      this.#waiting.splice(this.#waiting.indexOf(head.waiting), 1)
      this.#isolate.granted = Date.now()
      if (held.tenant !== null) held.tenant.granted = this.#isolate.granted
      granted()
      held.grant(bytes)
    }
  }

  /** Ends the stream that has most of it. Returns false when no stream has any. */
  #endLargest(of: (held: Held) => number): boolean {
    let largest: Held | null = null
    for (const held of this.open) if (of(held) > (largest ? of(largest) : 0)) largest = held
    largest?.end('this isolate holds too much for its clients')
    return largest !== null
  }
}

const isOf = ({ held }: Waiting, tenant: Pool | null): boolean => held.tenant === tenant

/** The memory of this isolate's streams. */
const memory = new StreamMemory()

/** Counts the bytes that one stream holds in memory for its client. Back-pressure keeps this small. */
export class Held {
  readonly #parts: Record<HeldPart, number> = { transport: 0, upstream: 0, tails: 0, reading: 0, known: 0 }
  readonly #memory: StreamMemory
  readonly #slack: number
  readonly #ended = Promise.withResolvers<string>()
  #downloading = false
  #closed = false
  #counted = 0
  #countedKnown = 0
  #tenant: { name: string; pool: Pool } | null = null
  /** Waits for room. */
  waits = false
  /**
   * When the client last received as much as an active reader does, or was given room, in milliseconds since 1970; and
   * what it has received since.
   */
  #since = Date.now()
  #taken = 0
  /** The last sign of life of the stream's code, in milliseconds since 1970. */
  heard = Date.now()

  /** `slack`: how many received bytes a client may leave unreported for as long as it gets nothing more. */
  constructor(slack = 0, of: StreamMemory = memory) {
    this.#slack = slack
    this.#memory = of
    of.open.add(this)
  }

  /** Called before anything is held. `part`: of the isolate's memory, which this tenant's streams may hold together. */
  belongTo(name: string, part: number | null): void {
    if (!this.#closed) this.#tenant ??= { name, pool: this.#memory.tenants.join(name, part) }
  }

  /** What the streams of its tenant hold together; null when that is not known. */
  get tenant(): Pool | null {
    return this.#tenant?.pool ?? null
  }

  /**
   * Resolves with the reason when the stream must end. The code that runs the stream listens, because only it may use
   * what belongs to its request.
   */
  get ended(): Promise<string> {
    return this.#ended.promise
  }

  /** The bytes that back-pressure limits: without those that are being read and those of what is known. */
  get bytes(): number {
    return this.#parts.transport + this.#parts.upstream + this.#parts.tails
  }

  /** This stream's part of the isolate's sum, and of what all streams know. */
  get counted(): number {
    return this.#counted
  }

  get known(): number {
    return this.#countedKnown
  }

  /** The rest: the bytes that are freed when the client receives them. */
  get passing(): number {
    return this.#counted - this.#countedKnown
  }

  /**
   * Since when it has made no use of what it holds, in milliseconds since 1970, or null when it holds next to nothing.
   * If it waits for room itself, that is not its client's fault, unless the client has not received what it would
   * certainly have reported.
   */
  get stalled(): number | null {
    const ours = this.waits && this.#parts.transport <= this.#slack
    return !ours && this.passing >= TAKEN_BYTES ? this.#since : null
  }

  /** True from the first read for a checkpoint to its end. */
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
      // Bytes that are being sent are no longer being read.
      this.#parts.reading = Math.max(0, this.#parts.reading - Math.max(0, bytes - before))
    }
    this.#memory.peak = Math.max(this.#memory.peak, this.bytes)
    this.#count()
  }

  alive(): void {
    this.heard = Date.now()
  }

  /**
   * Sets the bytes of what the stream knows about its buckets. Returns false, and changes nothing, when there is no
   * room for the increase.
   */
  know(bytes: number): boolean {
    const more = bytes - this.#parts.known
    if (more > 0 && !this.#memory.allows(more, this.tenant)) return false
    this.set('known', bytes)
    return true
  }

  /** Waits until this much may be read for it. */
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

  /** Called when the stream has ended. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#memory.open.delete(this)
    this.#count()
    if (this.#tenant) this.#memory.tenants.leave(this.#tenant.name, this.#tenant.pool)
  }

  #count(): void {
    const { transport, upstream, tails, reading, known } = this.#parts
    const lying = this.#downloading ? transport : Math.max(0, transport - this.#slack)
    const counted = this.#closed ? 0 : lying + upstream + tails + reading + known
    const change = counted - this.#counted
    const knownChange = (this.#closed ? 0 : known) - this.#countedKnown
    this.#counted = counted
    this.#countedKnown += knownChange
    if (change !== 0) this.#memory.changed(change, knownChange, this.tenant)
  }
}

/**
 * Of this isolate, in bytes: what is held for all open streams, the most that one has ever held, and what all of them
 * know about their buckets; and the number of streams.
 */
export function heldStatus(): { open: number; heldBytes: number; peakHeldBytes: number; knownBytes: number } {
  let heldBytes = 0
  for (const held of memory.open) heldBytes += held.bytes
  return { open: memory.open.size, heldBytes, peakHeldBytes: memory.peak, knownBytes: memory.known }
}
