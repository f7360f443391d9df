import { z } from 'zod'

/**
 * throw: an error at that place. abort: the object dies there, with whatever is not durable. delay: others go first. drop: the socket falls.
 * hang: what waits there waits for ever; only when it is asked for by `kinds`, because each one costs a deadline.
 */
export type FaultKind = 'throw' | 'abort' | 'delay' | 'drop' | 'hang'

/**
 * Every place of the way of a change at which it may be interrupted, and how. A test goes through this list and fails for a place that it did
 * not come to. The object of a point is its first word; what has another name is in the replicator.
 */
export const FAULT_POINTS = {
  'replicator.start': ['abort'],
  'replicator.attach': ['throw', 'abort', 'delay', 'hang'],
  'replicator.write': ['throw', 'abort', 'delay', 'hang'],
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

/** Only where they are asked for by name: a change that kills again and again is skipped in the end, which is no state of the source. */
const UNASKED: ReadonlySet<FaultPoint> = new Set<FaultPoint>(['change.apply'])

/** Points where one may wait. */
export type AsyncFaultPoint = { [P in FaultPoint]: 'delay' extends (typeof FAULT_POINTS)[P][number] ? P : never }[FaultPoint]

/** What a fault is done to, when it is not the replicator and its connections to Postgres. */
export interface FaultTarget {
  object?: { abort(reason?: string): void }
  /** Closes the socket at hand. */
  drop?: () => void
  /** Which of its kind: a row. */
  at?: string
}

const shape = z.object({
  seed: z.int(),
  /** Faults per hit at first. A point that is hit often fails ever less often, so that what is tried again succeeds in the end. */
  rate: z.number().positive().max(1).default(0.5),
  /** Of single points, where it is another one. */
  rates: z.record(z.string(), z.number().positive().max(1)).default({}),
  /** False: a point goes on failing as often as at first. */
  fading: z.boolean().default(true),
  /** So many faults of a point one after the other at first. */
  eager: z.int().min(0).default(0),
  /** So many faults of a point, and no more. */
  most: z.int().min(1).optional(),
  /** Only these points. */
  points: z.array(z.string()).optional(),
  /** Only these kinds. */
  kinds: z.array(z.enum(['throw', 'abort', 'delay', 'drop', 'hang'])).optional(),
  /** Only there: see `FaultTarget`. */
  at: z.string().optional(),
  delayMs: z.number().default(20),
  /** The longest back-off of sessions: faults come by the hundred here, and one after the other. */
  backOffMs: z.number().default(1_000),
  /** Nothing else, and at this point the whole process stands still until somebody kills it. */
  hangAt: z.string().optional(),
})

/** Until then an object of an isolate that was just started comes to what it does in any case. */
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
  /** Makes the connections to Postgres fall. */
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
    if (kind === 'delay') await new Promise((resolve) => setTimeout(resolve, this.#settings.delayMs * (0.5 + this.#next())))
    else if (kind === 'hang') await new Promise<never>(() => {})
    else if (kind !== null) this.#do(point, kind, target)
  }

  /** The fault of this hit, null when there is none. Reported before it is done: what is aborted reports nothing any more. */
  #due(point: FaultPoint, target: FaultTarget | undefined): FaultKind | null {
    const { rates, points, kinds: wanted, eager, fading, most, hangAt, at } = this.#settings
    const rate = rates[point] ?? this.#settings.rate
    if (hangAt === point && Date.now() - this.#began > HANG_AFTER_MS) for (;;);
    if (hangAt !== undefined) return null
    if (points ? !points.includes(point) : UNASKED.has(point)) return null
    if (at !== undefined && target?.at !== at) return null
    let schedule = this.#schedules.get(point)
    if (!schedule) this.#schedules.set(point, (schedule = { hits: 0, next: eager > 0 ? 1 : 1 + Math.floor(this.#next() / rate), fired: 0 }))
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

  /** mulberry32 */
  #next(): number {
    this.#random = (this.#random + 0x6d2b79f5) >>> 0
    let t = Math.imul(this.#random ^ (this.#random >>> 15), 1 | this.#random)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Of this isolate: local workerd runs all objects in one, so that counts outlive an aborted object. Null in production. */
let faults: Faults | null = null

/** The binding FAULTS, which only tests set: `{"seed":1,"rate":0.5}`, perhaps with `points`. Called when an object starts. */
export function enableFaults(binding: string | undefined, replicator?: { abort(reason?: string): void }): void {
  if (binding === undefined) return
  faults ??= new Faults(shape.parse(JSON.parse(binding)))
  if (replicator) faults.replicator = replicator
}

/** How the connections to Postgres are made to fall; null when there are none. */
export function disconnectBy(disconnect: (() => void) | null): void {
  if (faults !== null) faults.disconnect = disconnect
}

/** The longest back-off of sessions while there are faults; Infinity in production. */
export const longestBackOffMs = (): number => faults?.backOffMs ?? Infinity

/** A place that may be interrupted. In production it costs one comparison with null. */
export function faultPoint(point: FaultPoint, target?: FaultTarget): void {
  if (faults !== null) faults.hit(point, target)
}

/** The same where one may wait. */
export function asyncFaultPoint(point: AsyncFaultPoint, target?: FaultTarget): Promise<void> | undefined {
  return faults === null ? undefined : faults.hitAsync(point, target)
}
