import { MemoryDatabase, type MemoryChange, type MemoryRow } from '../../sources/memory/database.ts'
import { Random } from './random.ts'

export const DOCS = { schema: 'public', name: 'docs', columns: ['id', 'v', 'big'], key: ['id'] }
export const OTHERS = { schema: 'public', name: 'others', columns: ['id', 'v'], key: ['id'] }

export const SYNC_CONFIG = `
bucket_definitions:
  all:
    data:
      - SELECT id, v, big FROM docs
      - SELECT id AS id, v FROM others
`

/** A database in memory with two tables, which random changes come to. Some of them leave out a large value. */
export class MemoryLoad {
  readonly database = new MemoryDatabase('app', [DOCS, OTHERS])
  readonly #random: Random
  readonly #docs = new Map<string, MemoryRow>()
  #n = 0

  constructor(seed: number) {
    this.#random = new Random(seed)
  }

  change(): MemoryChange {
    const random = this.#random
    const id = `d${random.int(12)}`
    const v = String(++this.#n)
    const before = this.#docs.get(id)
    if (random.chance(0.2)) return { op: 'update', table: OTHERS, row: { id, v } }
    if (before && random.chance(0.2)) {
      this.#docs.delete(id)
      return { op: 'delete', table: DOCS, row: before }
    }
    if (before && random.chance(0.5)) {
      // The large value is as it was, and is left out.
      const row = { ...before, v }
      this.#docs.set(id, row)
      return { op: 'update', table: DOCS, row, unsent: ['big'] }
    }
    const row = { id, v, big: `big ${v}` }
    this.#docs.set(id, row)
    return { op: before ? 'update' : 'insert', table: DOCS, row }
  }

  /** One transaction of this many changes. */
  commit(changes: number): void {
    this.database.commit(...Array.from({ length: changes }, () => this.change()))
  }

  /** One transaction. */
  load(): void {
    this.commit(1 + this.#random.int(20))
  }

  /** Returns what the database holds, as `heldRows` returns it. */
  rows(): string[] {
    return [DOCS, OTHERS]
      .flatMap((table) => [...this.database.rows(table, () => true).values()].map(({ row }) => textOf(table.name, row)))
      .sort()
  }
}

/** Returns the objects of buckets as sorted texts, to be compared with `MemoryLoad.rows`. */
export const heldRows = (objects: readonly { type: string; data: string }[]): string[] =>
  objects.map(({ type, data }) => textOf(type, JSON.parse(data) as object)).sort()

const textOf = (table: string, row: object): string => JSON.stringify([table, Object.entries(row).sort()])
