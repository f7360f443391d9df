import { z } from 'zod'

/**
 * throw: an error at that place. abort: the object dies there and loses whatever is not durable. delay: other code runs
 * first. drop: the socket closes. hang: the code waits there for ever. This happens only when `kinds` asks for it,
 * because each one costs a deadline.
 */
export type FaultKind = 'throw' | 'abort' | 'delay' | 'drop' | 'hang'

/**
 * Every place at which the processing of a change may be interrupted, and the ways in which it may be. A test
 * interrupts each of them, and fails if a place was never reached. A point's first word names its object, or else a
 * part of the replicator.
 */
export const FAULT_POINTS = {
  'replicator.start': ['abort'],
  'replicator.attach': ['throw', 'abort', 'delay', 'hang'],
  'replicator.write': ['throw', 'abort', 'delay', 'hang'],
  'replicator.revoked': ['throw', 'abort', 'delay', 'hang'],
  'replicator.alarm': ['throw', 'abort', 'delay', 'hang'],

  'session.prepare': ['throw', 'abort', 'delay', 'hang'],
  'session.prepared': ['throw', 'abort', 'delay', 'hang'],
  'session.opened': ['throw', 'abort', 'drop', 'delay', 'hang'],
  'session.marked': ['throw', 'abort', 'drop', 'delay', 'hang'],
  'session.tick': ['throw', 'abort', 'drop', 'delay', 'hang'],
  'session.switch': ['throw', 'abort', 'drop', 'delay', 'hang'],
  'session.close': ['throw', 'abort', 'delay', 'hang'],

  'change.apply': ['throw', 'abort'],
  'stream.message': ['throw', 'abort', 'drop'],
  'stream.flush': ['throw', 'abort', 'drop'],
  'stream.marker': ['throw', 'abort', 'drop'],
  'stream.slice': ['throw', 'abort'],
  'stream.acknowledge': ['throw', 'abort', 'drop', 'delay', 'hang'],

  'transaction.left': ['throw', 'abort'],
  'transaction.stored': ['throw', 'abort'],

  'batch.store': ['throw', 'abort'],
  'batch.rows': ['throw', 'abort'],
  'batch.outbox': ['throw', 'abort'],
  'batch.stored': ['throw', 'abort'],

  'append.send': ['throw', 'abort', 'delay', 'hang'],
  'append.answer': ['throw', 'abort', 'delay', 'hang'],
  'append.answered': ['throw', 'abort'],

  'commit.begin': ['throw', 'abort'],
  'commit.state': ['throw', 'abort'],
  'commit.drop': ['throw', 'abort'],
  'commit.stored': ['throw', 'abort'],

  'notice.durable': ['throw', 'abort', 'delay', 'hang'],
  'notice.send': ['throw', 'abort', 'drop'],

  'open.begin': ['throw', 'abort', 'delay', 'hang'],
  'open.answered': ['throw', 'abort', 'delay', 'hang'],
  'open.registered': ['throw', 'abort', 'drop'],

  'read.barrier': ['throw', 'abort', 'drop', 'delay', 'hang'],
  'read.begin': ['throw', 'abort', 'drop', 'delay', 'hang'],
  'read.rows': ['throw', 'abort', 'drop', 'delay', 'hang'],
  'read.marked': ['throw', 'abort', 'drop', 'delay', 'hang'],
  'read.apply': ['throw', 'abort', 'drop'],
  'read.progress': ['throw', 'abort', 'drop'],

  'deploy.checked': ['throw', 'abort', 'delay', 'hang'],
  'deploy.add': ['throw', 'abort'],
  'deploy.begin': ['throw', 'abort'],
  'deploy.begun': ['throw', 'abort'],
  'deploy.switched': ['throw', 'abort'],
  'deploy.drop': ['throw', 'abort'],
  'drop.step': ['throw', 'abort', 'drop', 'delay', 'hang'],
  'drop.swept': ['throw', 'abort'],
  'drop.remove': ['throw', 'abort', 'delay', 'hang'],
  'drop.removed': ['throw', 'abort', 'delay', 'hang'],
  'drop.done': ['throw', 'abort'],

  'tidying.step': ['throw', 'abort', 'drop', 'delay', 'hang'],
  'tidying.asked': ['throw', 'abort', 'delay', 'hang'],
  'tidying.erased': ['throw', 'abort', 'delay', 'hang'],

  'verify.step': ['throw', 'abort', 'drop', 'delay', 'hang'],
  'verify.ask': ['throw', 'abort', 'delay', 'hang'],
  'verify.mend': ['throw', 'abort'],
  'verify.done': ['throw', 'abort'],

  'bucket.append': ['throw', 'abort', 'delay', 'hang'],
  'bucket.appended': ['throw', 'abort', 'delay', 'hang'],
  'bucket.state': ['throw', 'abort', 'delay', 'hang'],
  'bucket.read': ['throw', 'abort', 'delay', 'hang'],
  'bucket.rows': ['throw', 'abort', 'delay', 'hang'],
  'bucket.digest': ['throw', 'abort', 'delay', 'hang'],
  'bucket.mend': ['throw', 'abort', 'delay', 'hang'],
  'bucket.idle': ['throw', 'abort', 'delay', 'hang'],
  'bucket.erase': ['throw', 'abort', 'delay', 'hang'],

  'relay.stream': ['throw', 'abort'],
  'relay.open': ['throw', 'abort'],
  'relay.message': ['throw', 'abort', 'drop'],
  'relay.subscribe': ['throw', 'abort', 'drop'],
  'relay.ask': ['throw', 'abort', 'delay', 'hang'],
} as const satisfies Record<string, readonly FaultKind[]>

export type FaultPoint = keyof typeof FAULT_POINTS

/**
 * Points that fail only when `points` names them: a change that keeps killing the replicator is skipped in the end, and
 * the result is not a state of the source.
 */
const UNASKED: ReadonlySet<FaultPoint> = new Set<FaultPoint>(['change.apply'])

/** The points at which code may wait. */
export type AsyncFaultPoint = {
  [P in FaultPoint]: 'delay' extends (typeof FAULT_POINTS)[P][number] ? P : never
}[FaultPoint]

/** What the fault affects, when that is not the replicator and its connections to Postgres. */
export interface FaultTarget {
  object?: { abort(reason?: string): void }
  /** Closes the socket that is in use at this point. */
  drop?: () => void
  /** Tells calls at the same point apart: for example, the row. */
  at?: string
}

const shape = z.object({
  seed: z.int(),
  /**
   * Faults per hit at first. The more often a point is hit, the less often it fails, so that retries succeed in the
   * end.
   */
  rate: z.number().positive().max(1).default(0.5),
  /** The rates of single points that differ from `rate`. */
  rates: z.record(z.string(), z.number().positive().max(1)).default({}),
  /** When false, a point keeps failing at its first rate. */
  fading: z.boolean().default(true),
  /** The number of hits of a point that fail in a row at first. */
  eager: z.int().min(0).default(0),
  /** The largest number of faults at one point. */
  most: z.int().min(1).optional(),
  /** Only these points. */
  points: z.array(z.string()).optional(),
  /** Only these kinds. */
  kinds: z.array(z.enum(['throw', 'abort', 'delay', 'drop', 'hang'])).optional(),
  /** Only targets with this `at`: see `FaultTarget`. */
  at: z.string().optional(),
  delayMs: z.number().default(20),
  /** The longest back-off of sessions. It is short because faults come by the hundred here, one after the other. */
  backOffMs: z.number().default(1_000),
  /** At this point the whole process stops until somebody kills it. There are no other faults. */
  hangAt: z.string().optional(),
})

/**
 * Faults of `hangAt` begin this long after the isolate started, so that an object gets past what it always does at its
 * start.
 */
const HANG_AFTER_MS = 1_500

interface Schedule {
  hits: number
  next: number
  fired: number
}

class Faults {
  readonly #began = Date.now()
  readonly #settings: z.infer<typeof shape>
  readonly #schedules = new Map<FaultPoint, Schedule>()
  #random: number
  replicator: { abort(reason?: string): void } | null = null
  /** Closes the connections to Postgres. */
  disconnect: (() => void) | null = null

  constructor(settings: z.infer<typeof shape>) {
    this.#settings = settings
    this.#random = settings.seed >>> 0
  }

  get backOffMs(): number {
    return this.#settings.backOffMs
  }

  hit(point: FaultPoint, target: FaultTarget | undefined): void {
    const kind = this.#due(point, target)
    if (kind !== null && kind !== 'delay' && kind !== 'hang') this.#do(point, kind, target)
  }

  async hitAsync(point: FaultPoint, target: FaultTarget | undefined): Promise<void> {
    const kind = this.#due(point, target)
    if (kind === 'delay')
      await new Promise((resolve) => setTimeout(resolve, this.#settings.delayMs * (0.5 + this.#next())))
    else if (kind === 'hang') await new Promise<never>(() => {})
    else if (kind !== null) this.#do(point, kind, target)
  }

  /**
   * Returns the fault for this hit, or null. It is logged before it happens, because an aborted object logs nothing any
   * more.
   */
  #due(point: FaultPoint, target: FaultTarget | undefined): FaultKind | null {
    const { rates, points, kinds: wanted, eager, fading, most, hangAt, at } = this.#settings
    const rate = rates[point] ?? this.#settings.rate
    if (hangAt === point && Date.now() - this.#began > HANG_AFTER_MS) for (;;);
    if (hangAt !== undefined) return null
    if (points ? !points.includes(point) : UNASKED.has(point)) return null
    if (at !== undefined && target?.at !== at) return null
    let schedule = this.#schedules.get(point)
    if (!schedule)
      this.#schedules.set(
        point,
        (schedule = { hits: 0, next: eager > 0 ? 1 : 1 + Math.floor(this.#next() / rate), fired: 0 }),
      )
    if (++schedule.hits < schedule.next || schedule.fired >= (most ?? Infinity)) return null
    const later = Math.floor(((0.5 + this.#next()) * (fading ? schedule.hits + 1 : 1)) / rate / 2)
    schedule.next = schedule.hits + 1 + (schedule.fired + 1 < eager ? 0 : later)
    const droppable = target?.drop !== undefined || this.disconnect !== null
    const kinds: readonly FaultKind[] = FAULT_POINTS[point].filter(
      (kind: FaultKind) => (kind !== 'drop' || droppable) && (wanted?.includes(kind) ?? kind !== 'hang'),
    )
    if (kinds.length === 0) return null
    const kind = kinds[schedule.fired++ % kinds.length] ?? 'throw'
    console.warn(`fault ${point} ${kind}`)
    return kind
  }

  #do(point: FaultPoint, kind: 'throw' | 'abort' | 'drop', target: FaultTarget | undefined): void {
    if (kind === 'drop') {
      if (target?.drop) target.drop()
      else this.disconnect?.()
      return
    }
    const object = target?.object ?? this.replicator
    if (kind === 'abort' && object) object.abort(`fault at ${point}`)
    throw new Error(`fault at ${point}`)
  }

  /** The next number of mulberry32, from 0 up to 1. */
  #next(): number {
    this.#random = (this.#random + 0x6d2b79f5) >>> 0
    let t = Math.imul(this.#random ^ (this.#random >>> 15), 1 | this.#random)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * The faults of this isolate. Local workerd runs all objects in one isolate, so that the counts outlive an aborted
 * object. Null in production.
 */
let faults: Faults | null = null

/**
 * Called when an object starts. `binding` is FAULTS, which only tests set, for example to
 * `{"seed":1,"rate":0.5,"points":["batch.store"]}`.
 */
export function enableFaults(binding: string | undefined, replicator?: { abort(reason?: string): void }): void {
  if (binding === undefined) return
  faults ??= new Faults(shape.parse(JSON.parse(binding)))
  if (replicator) faults.replicator = replicator
}

/** Sets how the connections to Postgres are closed by a fault; null when there are none. */
export function disconnectBy(disconnect: (() => void) | null): void {
  if (faults !== null) faults.disconnect = disconnect
}

/** Returns the longest back-off of sessions while there are faults, Infinity in production. */
export const longestBackOffMs = (): number => faults?.backOffMs ?? Infinity

/** Marks a place that may be interrupted. In production it costs one comparison with null. */
export function faultPoint(point: FaultPoint, target?: FaultTarget): void {
  if (faults !== null) faults.hit(point, target)
}

/** Marks a place that may be interrupted and where code may wait. In production it costs one comparison with null. */
export function asyncFaultPoint(point: AsyncFaultPoint, target?: FaultTarget): Promise<void> | undefined {
  return faults === null ? undefined : faults.hitAsync(point, target)
}
