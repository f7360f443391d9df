import type { CopyState } from '../copy/copy-state.ts'
import type { CopyWork } from '../copy/copy-work.ts'
import type { ReadContent, RowConsumer } from '../copy/row-consumer.ts'
import type { Batch } from '../ingest/batch.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import type { Intake } from '../ingest/intake.ts'
import type { Tables } from '../store/tables.ts'
import type { Comparisons } from './comparisons.ts'
import { comparedSoFar } from './progress.ts'
import type { SessionAccess } from './session-access.ts'
import type { TableCheck } from './table-check.ts'

/** The session that reads the tables. */
export interface TableComparisonSession extends Pick<SessionAccess, 'tables' | 'isOver'> {
  intake: Pick<Intake, 'flush'>
}

export interface TableComparisonPorts {
  comparisons: Comparisons
  check: Pick<TableCheck, 'compare'>
  tables: Pick<Tables, 'incomplete'>
  session: TableComparisonSession
}

/**
 * Has a `Copier` read all followed tables, and compares their rows instead of storing them. Rows that lack values are
 * completed meanwhile.
 */
export class TableComparison implements CopyWork, RowConsumer {
  readonly tables: readonly FollowedTable[]
  readonly #ports: TableComparisonPorts
  readonly #number: number | undefined
  /** Rows that are compared, and not stored yet as such. */
  #rows = 0

  constructor(ports: TableComparisonPorts) {
    this.#ports = ports
    this.#number = ports.comparisons.current?.number
    this.tables = [...ports.session.tables].sort((a, b) => a.number - b.number)
  }

  /** The comparison that reads tables is not this one any more, or none does. */
  get isEnded(): boolean {
    const { comparisons } = this.#ports
    return !comparisons.readsTables || comparisons.current?.number !== this.#number
  }

  copyState({ number }: FollowedTable): CopyState {
    return comparedSoFar(this.#ports.comparisons.current, number)
  }

  progress({ number }: FollowedTable, copy: CopyState): void {
    // It was cancelled while it was read, and another one may have been requested.
    if (this.isEnded) return
    const isDone = copy.state === 'done'
    const rows = this.#rows
    this.#rows = 0
    this.#ports.comparisons.update((now) => ({
      table: isDone ? number : now.table,
      copy: isDone ? null : { ...copy, number },
      rows: now.rows + rows,
    }))
  }

  incomplete(limit: number): { table: FollowedTable; keys: string[] } | null {
    return this.#ports.tables.incomplete(limit)
  }

  removeRetired(): Promise<'none'> {
    return Promise.resolve('none')
  }

  isOver(): boolean {
    return this.#ports.session.isOver() || this.isEnded
  }

  /** What is compared is what is stored. */
  begin(): void {
    this.#ports.session.intake.flush()
  }

  take(batch: Batch, _: Intake['settle'], table: FollowedTable, key: string, found: ReadContent | null): void {
    if (found !== null) this.#rows++
    this.#ports.check.compare(batch, table, key, found)
  }

  isNoted(): boolean {
    return false
  }

  /** The copier has stopped. The buckets are next if that was because it has read everything. */
  end(): void {
    if (!this.isOver()) this.#ports.comparisons.update(() => ({ phase: 'buckets', copy: null }))
  }
}
