import type { ReplicatorStatus } from '../../protocol/messages.ts'
import type { TableName } from '../../sync-config/types.ts'

const RECENT = 20

/** Rows that a query could not evaluate, since this object started. */
export class Skipped {
  #count = 0
  readonly #recent: ReplicatorStatus['skippedRows']['recent'] = []

  add(table: TableName, key: string, reason: string): void {
    this.#count++
    this.#recent.unshift({ table: `${table.schema}.${table.name}`, key, reason })
    this.#recent.length = Math.min(this.#recent.length, RECENT)
  }

  status(): ReplicatorStatus['skippedRows'] {
    return { count: this.#count, recent: [...this.#recent] }
  }
}
