/** How much a pool may hold, in bytes. */
export interface PoolLimits {
  /** Above this nothing more is read. */
  room: number
  /** Above this the largest stream ends. */
  most: number
  /** The part of the room that is for what streams know. */
  known: number
}

/**
 * What the streams of an isolate hold, or those of one of its tenants. A tenant has a part of each limit, so that its
 * streams leave room for those of others. A tenant that is alone is limited by the isolate only.
 */
export class Pool {
  readonly limits: PoolLimits
  sum = 0
  known = 0
  streams = 0
  /** When a stream was last given room, in ms since 1970. */
  granted = 0

  constructor(limits: PoolLimits) {
    this.limits = limits
  }

  /** Returns whether this much may be read. Known bytes alone never keep a read waiting. */
  fits(bytes: number): boolean {
    return this.sum === this.known || this.sum + bytes <= this.limits.room
  }

  /** Returns whether streams may know this many bytes more. */
  allows(known: number): boolean {
    return this.known + known <= this.limits.known
  }

  get isOver(): boolean {
    return this.sum > this.limits.most
  }
}

const UNLIMITED: PoolLimits = { room: Infinity, most: Infinity, known: Infinity }

/** The pools of tenants that have streams. */
export class TenantPools {
  readonly #pools = new Map<string, Pool>()
  readonly #isolate: PoolLimits

  constructor(isolate: PoolLimits) {
    this.#isolate = isolate
  }

  /** `part`: of the isolate's limits, or null when the tenant shares them with nobody. */
  join(tenant: string, part: number | null): Pool {
    const pool = this.#pools.get(tenant) ?? new Pool(part === null ? UNLIMITED : partOf(this.#isolate, part))
    this.#pools.set(tenant, pool)
    pool.streams++
    return pool
  }

  leave(tenant: string, pool: Pool): void {
    if (--pool.streams === 0) this.#pools.delete(tenant)
  }
}

const partOf = ({ room, most, known }: PoolLimits, part: number): PoolLimits => ({
  room: room * part,
  most: most * part,
  known: known * part,
})
