import type { Sources } from '../../sqlite/judge.ts'
import type { ApplicationStatement, Params, ResultColumn } from '../../sqlite/sqlite.ts'
import { guarded } from '../listeners.ts'
import { ProblemError } from '../problem.ts'
import { diff, hashesOf, type Hashes, type Patch } from './patch.ts'

// Live queries: each runs again when a table that it reads has changed, once for all who follow it. They get what has
// changed of its rows, and nothing when nothing has.

/** A query that nobody follows any more stays for so long: a screen that is left and entered again finds it running. */
export const LINGER_MS = 1_000

export interface LiveListener {
  /** `columns`: null when they are those of before. The first patch has every row. */
  patch(patch: Patch, columns: readonly ResultColumn[] | null): void
  /** Every query has what the commit changed: whoever is told now sees no two of them disagree. */
  told?(): void
  /** The query could not run; it is tried again when its tables change. */
  failed(error: Error): void
}

export interface RegistryOptions {
  /** Throws when the statement is not allowed, or nobody may read. */
  prepare(sql: string): ApplicationStatement
  /** Runs `work` when nobody's transaction is open: what is not committed is never shown. */
  turn(work: () => void): Promise<void>
  /** After so many milliseconds, and the function that prevents it. */
  later(work: () => void, milliseconds: number): () => void
}

interface Followed {
  sql: string
  params: Params
  listeners: Set<LiveListener>
  /** Listeners that have got no rows yet. */
  fresh: Set<LiveListener>
  hashes: Hashes | null
  columns: string
  sources: Sources | null
  forget: (() => void) | null
}

export class LiveRegistry {
  readonly #with: RegistryOptions
  readonly #queries = new Map<string, Followed>()

  constructor(options: RegistryOptions) {
    this.#with = options
  }

  /** Answers the function that ends it. */
  follow(sql: string, params: Params, listener: LiveListener): () => void {
    const name = identity(sql, params)
    const query = this.#queries.get(name) ?? { ...empty(), sql, params }
    this.#queries.set(name, query)
    query.forget?.()
    query.forget = null
    query.listeners.add(listener)
    query.fresh.add(listener)
    this.#with.turn(() => this.#runAll([query])).catch((error: unknown) => this.#failed(query, error))
    return () => {
      if (!query.listeners.delete(listener)) return
      query.fresh.delete(listener)
      if (query.listeners.size === 0) query.forget = this.#with.later(() => void this.#queries.delete(name), LINGER_MS)
    }
  }

  /** A commit has changed these tables. The caller has the turn, and no transaction is open. */
  changed(tables: ReadonlySet<string>): void {
    this.#runAll([...this.#queries.values()].filter((query) => isConcerned(query, tables)))
  }

  /** Who may read has changed, or the tables themselves. The caller has the turn. */
  refresh(): void {
    this.#runAll([...this.#queries.values()])
  }

  #runAll(queries: readonly Followed[]): void {
    const patched = queries.flatMap((query) => this.#run(query))
    for (const listener of patched) guarded(() => listener.told?.())
  }

  /** Answers those who got a patch. */
  #run(query: Followed): LiveListener[] {
    try {
      const statement = this.#with.prepare(query.sql)
      if (!statement.isReadOnly) throw new ProblemError('statement', 'a live query only reads')
      // Before it runs: what it reads is known also when it fails.
      query.sources = statement.sources
      const rows = statement.all(query.params)
      const columns = statement.columns()
      return this.#publish(query, rows, columns)
    } catch (error) {
      this.#failed(query, error)
      return []
    }
  }

  #publish(query: Followed, rows: Parameters<typeof hashesOf>[0], columns: readonly ResultColumn[]): LiveListener[] {
    const hashes = hashesOf(rows)
    const shape = JSON.stringify(columns)
    const isNew = query.hashes === null || shape !== query.columns
    const patch = isNew ? null : diff(query.hashes ?? [], hashes, rows)
    const whole: Patch = [{ rows: [...rows] }]
    const patched: LiveListener[] = []
    for (const listener of [...query.listeners]) {
      const isFresh = isNew || query.fresh.has(listener)
      if (!isFresh && patch === null) continue
      guarded(() => listener.patch(isFresh ? whole : (patch ?? []), isFresh ? columns : null))
      patched.push(listener)
    }
    query.fresh.clear()
    query.hashes = hashes
    query.columns = shape
    return patched
  }

  /** Whatever comes next is whole. */
  #failed(query: Followed, error: unknown): void {
    query.hashes = null
    for (const listener of [...query.listeners])
      guarded(() => listener.failed(error instanceof Error ? error : new Error(String(error))))
  }
}

const empty = (): Omit<Followed, 'sql' | 'params'> => ({
  listeners: new Set(),
  fresh: new Set(),
  hashes: null,
  columns: '',
  sources: null,
  forget: null,
})

const isConcerned = ({ sources }: Followed, tables: ReadonlySet<string>): boolean =>
  sources === null || [...tables].some((table) => sources.has(table))

function identity(sql: string, params: Params): string {
  return JSON.stringify([
    sql,
    params.map((value) =>
      typeof value === 'bigint' ? { i: String(value) } : value instanceof Uint8Array ? [...value] : value,
    ),
  ])
}
