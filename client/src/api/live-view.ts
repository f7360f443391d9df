import { guarded } from '../core/listeners.ts'
import { applyPatch, type Patch, type RawRow } from '../core/live/patch.ts'
import type { LiveListener } from '../core/live/registry.ts'
import type { TypedSchema } from '../schema.ts'
import type { ResultColumn } from '../sqlite/sqlite.ts'
import { rowMaker } from './rows.ts'

/** Keys of rows. Where a query has no id, a row's key is its place. */
export interface LiveChange {
  added: unknown[]
  updated: unknown[]
  removed: unknown[]
  /** Those whose place among the rows that stayed is another one. */
  moved: unknown[]
}

export interface LiveView<T extends object> {
  readonly data: readonly T[]
  readonly state: 'loading' | 'ready' | 'error'
  readonly error: Error | null
  /**
   * Calls with the rows as soon as there are some, and whenever they differ; unchanged rows are the same objects.
   * Answers the function that ends it.
   */
  subscribe(listener: (rows: readonly T[], change: LiveChange) => void, onError?: (error: Error) => void): () => void
}

interface Listener<T> {
  rows(rows: readonly T[], change: LiveChange): void
  error(error: Error): void
}

export interface LiveViewOptions {
  schema: TypedSchema
  /** Column that names a row; else that of a table's id, else its place. */
  key?: string
  /** Answers the function that ends it. */
  follow(listener: LiveListener): () => void
}

/** A result that stays current as long as somebody subscribes to it. */
export class LiveRows<T extends object> implements LiveView<T> {
  readonly #with: LiveViewOptions
  readonly #listeners = new Set<Listener<T>>()
  #end: (() => void) | null = null
  /** What those who listen were told last. */
  #before: Keyed | null = null
  #columns: readonly ResultColumn[] = []
  #make: (row: RawRow) => T = () => ({}) as T
  data: readonly T[] = []
  state: LiveView<T>['state'] = 'loading'
  error: Error | null = null

  constructor(options: LiveViewOptions) {
    this.#with = options
  }

  subscribe(
    listener: (rows: readonly T[], change: LiveChange) => void,
    onError: (error: Error) => void = (error) => console.error(error),
  ): () => void {
    const own: Listener<T> = { rows: listener, error: onError }
    this.#listeners.add(own)
    if (this.state === 'ready') {
      const rows = this.data
      guarded(() => own.rows(rows, { added: this.#keys(rows), updated: [], removed: [], moved: [] }))
    }
    this.#end ??= this.#with.follow({
      patch: (patch, columns) => this.#patch(patch, columns),
      told: () => this.#tell(),
      failed: (error) => this.#failed(error),
    })
    return () => {
      this.#listeners.delete(own)
      if (this.#listeners.size > 0) return
      this.#end?.()
      this.#end = null
      // Nobody keeps it current.
      this.state = 'loading'
    }
  }

  #patch(patch: Patch, columns: readonly ResultColumn[] | null): void {
    if (this.#end === null && this.#listeners.size === 0) return
    const before = this.data
    this.#before ??= { keys: this.#keys(before), rows: before }
    if (columns !== null) {
      this.#columns = columns
      const make = rowMaker(this.#with.schema, columns)
      this.#make = (row) => make(row) as T
    }
    this.data = applyPatch(columns === null ? before : [], patch, this.#make)
    this.state = 'ready'
    this.error = null
  }

  #tell(): void {
    const before = this.#before
    if (before === null) return
    this.#before = null
    const change = changeOf(before, { keys: this.#keys(this.data), rows: this.data })
    for (const listener of [...this.#listeners]) guarded(() => listener.rows(this.data, change))
  }

  #failed(error: Error): void {
    this.state = 'error'
    this.error = error
    for (const listener of [...this.#listeners]) guarded(() => listener.error(error))
  }

  #keys(rows: readonly T[]): unknown[] {
    const key = this.#with.key ?? this.#columns.find(({ table, column }) => table !== null && column === 'id')?.name
    return rows.map((row, at) => (key === undefined ? at : (row as Record<string, unknown>)[key]))
  }
}

interface Keyed {
  keys: readonly unknown[]
  rows: readonly object[]
}

function changeOf(before: Keyed, after: Keyed): LiveChange {
  const old = new Map(before.keys.map((key, at) => [key, before.rows[at]]))
  const now = new Set(after.keys)
  const kept = before.keys.filter((key) => now.has(key))
  const places = new Map(kept.map((key, at) => [key, at]))
  const change: LiveChange = { added: [], updated: [], removed: before.keys.filter((key) => !now.has(key)), moved: [] }
  let place = 0
  for (const [at, key] of after.keys.entries()) {
    if (!old.has(key)) {
      change.added.push(key)
      continue
    }
    if (old.get(key) !== after.rows[at]) change.updated.push(key)
    if (places.get(key) !== place++) change.moved.push(key)
  }
  return change
}
