interface Entry<V> {
  tenant: string
  value: V
  size: number
}

/**
 * A cache of an isolate that tenants share: what was used longest ago goes first. A tenant has at most `part` of it, so
 * none can drive out what others use; what it has newest stays, however large that is. Sizes are in any one unit.
 */
export class TenantCache<V> {
  readonly #most: number
  /** In the order of their last use. */
  readonly #entries = new Map<string, Entry<V>>()
  readonly #sizes = new Map<string, number>()
  #size = 0

  constructor(most: number) {
    this.#most = most
  }

  get size(): number {
    return this.#size
  }

  sizeOf(tenant: string): number {
    return this.#sizes.get(tenant) ?? 0
  }

  get(tenant: string, key: string): V | undefined {
    const id = idOf(tenant, key)
    const entry = this.#entries.get(id)
    if (entry === undefined) return undefined
    this.#entries.delete(id)
    this.#entries.set(id, entry)
    return entry.value
  }

  /** `part`: see `tenantPart`. */
  set(tenant: string, key: string, value: V, { size, part }: { size: number; part: number | null }): void {
    const id = idOf(tenant, key)
    this.#delete(id)
    const most = this.#most * (part ?? 1)
    for (const [oldest, entry] of this.#entries) {
      if (this.sizeOf(tenant) + size <= most) break
      if (entry.tenant === tenant) this.#delete(oldest)
    }
    for (const oldest of this.#entries.keys()) {
      if (this.#size + size <= this.#most) break
      this.#delete(oldest)
    }
    this.#entries.set(id, { tenant, value, size })
    this.#count(tenant, size)
  }

  #delete(id: string): void {
    const entry = this.#entries.get(id)
    if (entry === undefined) return
    this.#entries.delete(id)
    this.#count(entry.tenant, -entry.size)
  }

  #count(tenant: string, change: number): void {
    this.#size += change
    const size = this.sizeOf(tenant) + change
    if (size > 0) this.#sizes.set(tenant, size)
    else this.#sizes.delete(tenant)
  }
}

/** Names of tenants have no slash. */
const idOf = (tenant: string, key: string): string => `${tenant}/${key}`
