import { tableKey, type TableName } from '../../protocol/tables.ts'

/** A table. Without a key, equal rows are counted. */
export interface MemoryTableInfo extends TableName {
  columns: readonly string[]
  key: readonly string[]
}
export type MemoryRow = Readonly<Record<string, string>>

/**
 * `before` is the row before an update that changes its key. `unsent` are unchanged columns that the stream leaves out.
 */
export type MemoryChange =
  | { op: 'insert' | 'update'; table: TableName; row: MemoryRow; before?: MemoryRow; unsent?: readonly string[] }
  | { op: 'delete'; table: TableName; row: MemoryRow }
  | { op: 'truncate'; tables: readonly TableName[] }
  | { op: 'mark'; text: string }

export interface MemoryTransaction {
  /** Its number in the list, from 1. */
  n: number
  /** Unique, also among transactions with the same number in another history. */
  id: string
  changes: readonly MemoryChange[]
}

/** What a database may do at its worst. A source kind must cope with all of it. */
export interface Misbehaviour {
  /** Commits are delivered, but reads do not see them until `reveal`. */
  hidesCommits: boolean
  /** Marks are delivered only with the next transaction, or with `flush`. */
  delaysMarks: boolean
  /** The number of events after which the stream ends. */
  endsAfter: number
  /** Every transaction is delivered twice. */
  deliversTwice: boolean
  /** Calls are not answered any more. */
  neverAnswers: boolean
}

/** A rule that a kind must keep. The contract must notice when one is broken. */
export type Rule =
  | 'counts what is not followed'
  | 'continues after what is stored'
  | 'skips what is stored'
  | 'proves the stored transaction'
  | 'proves the rest of a transaction'
  | 'answers in time or not at all'
  | 'ends aborted calls'
  | 'waits for what was delivered'
  | 'says what a read has seen'
  | 'delivers marks after what was committed'
  | 'leaves out unknown values'
  | 'reads every row once'
  | 'says what has passed'
  | 'sends nothing of what is beyond'

/** A list of transactions. */
export class MemoryDatabase {
  readonly id: string
  readonly tables: readonly MemoryTableInfo[]
  /** The version of the definitions. */
  version = 1
  /** Transactions up to this one need not be kept for us; null when nothing is kept. */
  kept: number | null = null
  readonly misbehaviour: Misbehaviour = {
    hidesCommits: false,
    delaysMarks: false,
    endsAfter: Infinity,
    deliversTwice: false,
    neverAnswers: false,
  }
  /** Rules that the kind breaks with this database. */
  readonly broken = new Set<Rule>()
  #log: MemoryTransaction[] = []
  #late: string[] = []
  #hidden = new Set<number>()
  #committed = 0
  readonly #listeners = new Set<() => void>()

  constructor(id: string, tables: readonly MemoryTableInfo[]) {
    this.id = id
    this.tables = tables
  }

  get length(): number {
    return this.#log.length
  }

  /** Commits a transaction. */
  commit(...changes: readonly MemoryChange[]): void {
    this.#commit(changes)
    this.flush()
  }

  mark(text: string): void {
    if (this.misbehaviour.delaysMarks) this.#late.push(text)
    else if (this.broken.has('delivers marks after what was committed') && this.length > 0) {
      const last = this.#log.pop()
      this.#commit([{ op: 'mark', text }])
      if (last) this.#log.push({ ...last, n: last.n + 1 })
    } else this.#commit([{ op: 'mark', text }])
    this.#tell()
  }

  /** Delivers the marks that were delayed. */
  flush(): void {
    for (const text of this.#late.splice(0)) this.#commit([{ op: 'mark', text }])
    this.#tell()
  }

  /** Lets reads see the commits that were hidden. */
  reveal(): void {
    this.#hidden.clear()
  }

  /** Restores the state after `n` transactions. What is committed then is another history. */
  restore(n: number): void {
    this.#log = this.#log.slice(0, n)
    this.kept = this.kept === null ? null : Math.min(this.kept, n)
  }

  /** Begins to keep commits for us. Returns true when it did not do so before. */
  keepFor(): boolean {
    if (this.kept !== null) return false
    this.kept = this.length
    return true
  }

  /** Returns true when something was kept. */
  forget(): boolean {
    const was = this.kept !== null
    this.kept = null
    return was
  }

  transaction(n: number): MemoryTransaction | undefined {
    return this.#log[n - 1]
  }

  isHidden(n: number): boolean {
    return this.#hidden.has(n)
  }

  get hidden(): ReadonlySet<number> {
    return this.#hidden
  }

  /** Subscribes to commits. Returns the function that unsubscribes. */
  onCommit(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /**
   * Returns the rows of a table by key, as the visible transactions left them; for a counted table with the number of
   * copies.
   */
  rows(table: MemoryTableInfo, sees: (n: number) => boolean): Map<string, { row: MemoryRow; copies: number }> {
    const rows = new Map<string, { row: MemoryRow; copies: number }>()
    const isIt = (name: TableName) => tableKey(name) === tableKey(table)
    const add = (row: MemoryRow, copies: number) => {
      const key = keyOf(table, row)
      const before = rows.get(key)?.copies ?? 0
      const now = table.key.length > 0 ? Math.max(0, copies) : before + copies
      if (now > 0) rows.set(key, { row, copies: now })
      else rows.delete(key)
    }
    for (const { n, changes } of this.#log) {
      if (!sees(n)) continue
      for (const change of changes) {
        if (change.op === 'truncate') {
          if (change.tables.some(isIt)) rows.clear()
        } else if (change.op !== 'mark' && isIt(change.table)) {
          if (change.op === 'delete') add(change.row, -1)
          else {
            if (change.op === 'update' && (change.before || table.key.length === 0))
              add(change.before ?? change.row, -1)
            add(change.row, 1)
          }
        }
      }
    }
    return rows
  }

  #commit(changes: readonly MemoryChange[]): void {
    this.#log.push({ n: this.#log.length + 1, id: `${this.id}-${++this.#committed}`, changes })
    if (this.misbehaviour.hidesCommits) this.#hidden.add(this.#log.length)
  }

  #tell(): void {
    for (const listener of this.#listeners) listener()
  }
}

/** Returns the key as JSON, or the whole row for a table without one. */
export const keyOf = ({ key, columns }: MemoryTableInfo, row: MemoryRow): string =>
  JSON.stringify((key.length > 0 ? key : columns).map((name) => row[name] ?? null))
