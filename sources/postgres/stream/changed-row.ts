import type { DecodedRow, RowChange, RowImage, SentValues } from '../../source.ts'
import type { PostgresTable } from '../postgres-table.ts'
import type { PgoutputMessage, Tuple } from '../types.ts'
import type { TableDecoder } from '../values/values.ts'
import type { DescribedTable } from './described-tables.ts'
import { imageOf, keptImage } from './row-image.ts'
import type { OpenTransaction, PostgresPlace } from './positions.ts'

export type RowMessage = Extract<PgoutputMessage, { type: 'insert' | 'update' | 'delete' }>

/** A message about one row of a followed table, decoded as the stream described the table at that time. */
export class ChangedRow implements RowChange {
  readonly kind = 'change'
  readonly table: PostgresTable
  readonly altered: boolean
  readonly key: string
  readonly before: string | null
  readonly #message: RowMessage
  readonly #decoder: TableDecoder
  readonly #tx: OpenTransaction
  readonly #seen: number

  constructor(message: RowMessage, { table, decoder, altered }: DescribedTable, tx: OpenTransaction) {
    this.table = table
    this.altered = altered
    this.#message = message
    this.#decoder = decoder
    this.#tx = tx
    this.#seen = tx.seen
    const old = message.type === 'insert' ? undefined : (message.key ?? message.old)
    this.key = message.type === 'delete' ? decoder.key(old ?? []) : decoder.key(message.new, old)
    this.before = message.type === 'update' && old ? decoder.key(old) : null
  }

  get op(): RowMessage['type'] {
    return this.#message.type
  }

  get at(): PostgresPlace {
    return this.#tx.place(this.#seen)
  }

  get #tuple(): Tuple {
    return this.#message.type === 'delete' ? [] : this.#message.new
  }

  /**
   * The texts that Postgres left out are those of the old row when it sent one, else what was kept of columns that are
   * still the same.
   */
  read(kept: () => RowImage | null): DecodedRow | null {
    const tuple = this.#tuple
    const { row, missing } = this.#decoder.row(tuple)
    const found: Record<string, string> = {}
    if (missing.length > 0) {
      const old =
        this.#message.type === 'update' && this.#message.old
          ? imageOf(this.#decoder, this.#message.old)
          : (kept() ?? {})
      for (const name of missing) {
        const text = old[name]
        if (text === undefined) return null
        found[name] = text
      }
      Object.assign(row, this.#decoder.values(found))
    }
    return { row, image: this.table.keepsImages ? keptImage(this.#decoder, tuple, found) : null }
  }

  sent(): SentValues {
    const tuple = this.#tuple
    const read = [...this.#decoder.columns.entries()].filter(([i]) => this.#decoder.reads(i))
    const values = new Map(read.flatMap(([i, name]) => (tuple[i] === undefined ? [] : [[name, tuple[i]] as const])))
    return { values, whole: values.size === read.length }
  }
}
