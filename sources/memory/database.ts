import { tableKey, type TableName } from '../../protocol/tables.ts'

/** A table. Without a key equal rows are counted. */
export interface MemoryTableInfo extends TableName {
  columns: readonly string[]
  key: readonly string[]
}
export type MemoryRow = Readonly<Record<string, string>>

/** `before`: the row as an update found it, when its key changes. `unsent`: columns that the stream leaves out, because they are as they were. */
export type MemoryChange =
  | { op: 'insert' | 'update'; table: TableName; row: MemoryRow; before?: MemoryRow; unsent?: readonly string[] }
  | { op: 'delete'; table: TableName; row: MemoryRow }
  | { op: 'truncate'; tables: readonly TableName[] }
  | { op: 'mark'; text: string }

export interface MemoryTransaction {
  /** Its place in the list, from 1. */
  n: number
  /** No other transaction has it, of another history at the same place neither. */
  id: string
  changes: readonly MemoryChange[]
}

/** What a database does at its worst. What follows it has to bear all of it. */
export interface Misbehaviour {
  /** Commits are delivered, and reads do not see them until `reveal`. */
  hidesCommits: boolean
  /** Marks are delivered only with the next transaction, or with `flush`. */
  delaysMarks: boolean
  /** The stream ends after so many more events. */
  endsAfter: number
  /** Every transaction is delivered twice. */
  deliversTwice: boolean
  /** No call is answered any more. */
  neverAnswers: boolean
}

/** A rule that a kind has to keep. Without one the contract must notice. */
export type Rule =
  | 'counts what is not followed'
  | 'goes on behind what is stored'
  | 'skips what is stored'
  | 'proves the stored transaction'
  | 'proves the rest of a transaction'
  | 'answers in time or not at all'
  | 'ends calls that are aborted'
  | 'waits for what was delivered'
  | 'says what a read has seen'
  | 'brings marks behind what was committed'
  | 'leaves out what it does not know'
  | 'reads every row once'

/** A list of transactions. */
export class MemoryDatabase {
  readonly id: string
  readonly tables: readonly MemoryTableInfo[]
  /** Of the definitions. */
  version = 1
  /** Transactions up to this one need not be kept for us; null: nothing is kept. */
  kept: number | null = null
  readonly misbehaviour: Misbehaviour = {
    hidesCommits: false,
    delaysMarks: false,
    endsAfter: Infinity,
    deliversTwice: false,
    neverAnswers: false,
  }
  /** Rules that the kind does not keep over this database. */
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
    else if (this.broken.has('brings marks behind what was committed') && this.length > 0) {
      const last = this.#log.pop()
      this.#commit([{ op: 'mark', text }])
      if (last) this.#log.push({ ...last, n: last.n + 1 })
    } else this.#commit([{ op: 'mark', text }])
    this.#tell()
  }

  /** Marks that were late come now. */
  flush(): void {
    for (const text of this.#late.splice(0)) this.#commit([{ op: 'mark', text }])
    this.#tell()
  }

  /** Reads see what they did not see. */
  reveal(): void {
    this.#hidden.clear()
  }

  /** As it was after `n` transactions: what follows is another history. */
  restore(n: number): void {
    this.#log = this.#log.slice(0, n)
    this.kept = this.kept === null ? null : Math.min(this.kept, n)
  }

  /** From now on what is committed is kept for us; true: it was not yet. */
  keepFor(): boolean {
    if (this.kept !== null) return false
    this.kept = this.length
    return true
  }

  /** True: something was kept. */
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

  /** Called when something was committed. */
  onCommit(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The rows of a table as the transactions made them that are seen, by key; of a counted table with how many there are. */
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
            if (change.op === 'update' && (change.before || table.key.length === 0)) add(change.before ?? change.row, -1)
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

/** As JSON: of the key, or of the whole row. */
export const keyOf = ({ key, columns }: MemoryTableInfo, row: MemoryRow): string =>
  JSON.stringify((key.length > 0 ? key : columns).map((name) => row[name] ?? null))
