import type {
  Call,
  Chunk,
  CopyCursor,
  ReadBudget,
  ReadRow,
  ReadyWait,
  Rows,
  SourceTable,
  TableReader,
  TxView,
} from '../source.ts'
import { keyOf, type MemoryDatabase, type MemoryRow } from './database.ts'
import { memoryTable, type MemoryCursor, type MemoryTable } from './table.ts'

/** Milliseconds between two looks at whether everything is visible. */
const READY_MS = 5

/** Reads rows in the order of their keys. */
export class MemoryReader implements TableReader {
  readonly #database: MemoryDatabase
  readonly #ask: <T>(call: Call, work: () => T) => Promise<T>

  constructor(database: MemoryDatabase, ask: <T>(call: Call, work: () => T) => Promise<T>) {
    this.#database = database
    this.#ask = ask
  }

  async ready({ pause, waitsFor, seen }: ReadyWait, call: Call): Promise<void> {
    const database = this.#database
    const upTo = await this.#ask(call, () => database.length)
    if (database.broken.has('waits for what was delivered')) return
    while ([...database.hidden].some((n) => n <= upTo)) {
      seen(this.#view())
      waitsFor('commits that nobody sees yet')
      await pause(READY_MS)
    }
    waitsFor(null)
  }

  async begin(of: SourceTable, _: CopyCursor | null, call: Call): Promise<{ cursor: MemoryCursor; resumed: boolean }> {
    const { info } = memoryTable(of)
    return this.#ask(call, () => ({
      cursor: { after: '', read: 0, of: this.#database.rows(info, (n) => !this.#database.isHidden(n)).size },
      resumed: false,
    }))
  }

  async chunk(of: SourceTable, at: CopyCursor, budget: ReadBudget, call: Call): Promise<Chunk> {
    const table = memoryTable(of)
    const { after, read, of: all } = at as MemoryCursor
    return this.#ask(call, () => {
      const rows = this.#rows(table)
      const again = this.#database.broken.has('reads every row once')
      const keys = [...rows.keys()].sort().filter((key) => (again ? key >= after : key > after))
      const page = keys.slice(0, budget.rows)
      const last = page.at(-1)
      if (last === undefined || (again && last === after)) {
        // The last range of a counted table has no end, so that no key beyond it is left.
        if (!table.counted || after === END) return { kind: 'end' }
        return {
          kind: 'rows',
          read: this.#read(table, [], rows),
          next: { after: END, read, of: all },
          range: { from: `${after}\u0000`, to: null },
        }
      }
      const next: MemoryCursor = { after: last, read: read + page.length, of: all }
      const range = table.counted ? { from: after === '' ? '' : `${after}\u0000`, to: `${last}\u0000` } : null
      return { kind: 'rows', read: this.#read(table, page, rows), next, range }
    })
  }

  async rows(
    of: SourceTable,
    keys: readonly string[],
    _: 'rows' | 'keys',
    call: Call,
  ): Promise<Rows & { cut: boolean }> {
    const table = memoryTable(of)
    return this.#ask(call, () => {
      const rows = this.#rows(table)
      const there = keys.filter((key) => rows.has(key))
      return { ...this.#read(table, there, rows), cut: false }
    })
  }

  #rows(table: MemoryTable): Map<string, { row: MemoryRow; copies: number }> {
    return this.#database.rows(table.info, (n) => !this.#database.isHidden(n))
  }

  #read(
    table: MemoryTable,
    keys: readonly string[],
    all: ReadonlyMap<string, { row: MemoryRow; copies: number }>,
  ): Rows {
    const rows = keys.flatMap((key): ReadRow[] => {
      const { row, copies } = all.get(key) ?? { row: {}, copies: 0 }
      return Array.from({ length: copies }, () => rowOf(table, row))
    })
    return { rows, length: rows.length, view: this.#view() }
  }

  #view(): TxView {
    const { length, hidden } = this.#database
    const unseen = new Set(hidden)
    if (this.#database.broken.has('says what a read has seen')) return { sees: () => true, seesAllUpTo: () => true }
    return {
      sees: (tx) => tx <= length && !unseen.has(Number(tx)),
      seesAllUpTo: (tx) => tx <= length && ![...unseen].some((n) => n <= tx),
    }
  }
}

/** Sorts after every key, because keys are JSON arrays. */
const END = '~'

const rowOf = (table: MemoryTable, row: MemoryRow): ReadRow => ({
  key: keyOf(table.info, row),
  decode(newer) {
    const now = Object.fromEntries(
      Object.entries(row).map(([name, value]) => [name, newer?.has(name) ? String(newer.get(name)) : value]),
    )
    return { row: now, image: table.counted ? null : now }
  },
})
