import { tableKey, tableText, type TableName } from '../../../protocol/tables.ts'
import type { SourceTable } from '../../../sources/source.ts'
import type { TableCopyStatus } from '../../../protocol/messages/admin.ts'
import { matchesTable } from '../../../sync-config/index.ts'
import type { Database } from '../../shared/database.ts'
import type { BatchTable } from '../ingest/batch.ts'
import { GivenNumbers } from './given-numbers.ts'
import { bareCursor, isDoubtful, NEW_COPY, newCopy, type CopyState } from '../copy/copy-state.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'

// The file is long because copying, missing values and retirement of a table are decided together, over the same
// rows.

/** The names of a table, and the columns that identify its rows. */
interface Description {
  names: readonly TableName[]
  /** Columns of the key with their types. Keys that were made differently cannot be compared. */
  key: string
}

interface KnownTable extends TableName {
  number: number
  fingerprint: string
  copy: CopyState
  description: Description
}

const again = (copy: CopyState, sweep: boolean): CopyState => ({
  ...newCopy(sweep),
  altered: copy.state !== 'done' && copy.altered === true,
  doubtful: isDoubtful(copy),
})

/** The replicated tables, how far their copies have come, and the rows that lack values. */
export class Tables {
  readonly #db: Database
  readonly #given: GivenNumbers
  /** Tables by name, without retired ones. */
  readonly #known = new Map<string, KnownTable>()
  #retired: KnownTable[] = []
  #current: FollowedTable[] = []
  /** The number of rows that lack values, by table. */
  readonly #incomplete = new Map<number, number>()

  constructor(db: Database) {
    this.#db = db
    this.#given = new GivenNumbers(db, 'givenTables')
    for (const row of db.all('SELECT number, schema, name, fingerprint, copy, description FROM tables')) {
      const description = JSON.parse(String(row.description)) as Partial<Description>
      const table: KnownTable = {
        number: Number(row.number),
        schema: String(row.schema),
        name: String(row.name),
        fingerprint: String(row.fingerprint),
        copy: JSON.parse(String(row.copy)) as CopyState,
        description: { names: description.names ?? [], key: description.key ?? '' },
      }
      if (table.copy.state === 'retired') this.#retired.push(table)
      else this.#known.set(tableKey(table), table)
    }
    for (const row of db.all('SELECT t, count(*) AS n FROM incomplete GROUP BY t'))
      this.#incomplete.set(Number(row.t), Number(row.n))
  }

  /**
   * Sets the tables of the session that begins. New tables, and those whose definition has changed, are copied. `kept`
   * has the names of tables that are missing only because something is wrong with them, or because nobody reads them:
   * their rows stay, and they are compared when they return. The rows of other tables are removed.
   */
  use(
    tables: readonly SourceTable[],
    hasRows: (table: number) => boolean,
    kept: (names: readonly TableName[]) => boolean,
  ): FollowedTable[] {
    this.#db.transaction(() => {
      const followed = new Set(tables.map(tableKey))
      for (const known of [...this.#known.values()]) {
        if (followed.has(tableKey(known))) continue
        if (!kept([known, ...known.description.names])) this.#retire(known)
        else if (known.fingerprint !== '') this.#keep({ ...known, fingerprint: '' })
        this.#forgetIncomplete(known.number)
      }
      for (const table of tables) this.#follow(table, hasRows)
    })
    this.#current = tables.flatMap((table) => {
      const known = this.#known.get(tableKey(table))
      return known
        ? [{ number: known.number, schema: table.schema, name: table.name, names: table.names, source: table }]
        : []
    })
    return this.#current
  }

  #follow(table: SourceTable, hasRows: (table: number) => boolean): void {
    let known = this.#known.get(tableKey(table))
    if (known?.fingerprint === table.fingerprint) return
    const key = table.keys
    if (known && known.description.key !== key && known.description.key !== '') {
      this.#retire(known)
      this.#forgetIncomplete(known.number)
      known = undefined
    }
    const number = known?.number ?? this.#nextNumber()
    const copy = { ...NEW_COPY, sweep: hasRows(number), altered: known !== undefined, doubtful: true }
    const { schema, name, fingerprint, names } = table
    this.#keep({ number, schema, name, fingerprint, copy, description: { names, key } })
  }

  /**
   * Retires a table. Its rows are removed when nothing is being copied any more, after the rows that replace them have
   * arrived.
   */
  #retire(known: KnownTable): void {
    this.#known.delete(tableKey(known))
    known.copy = { ...NEW_COPY, state: 'retired' }
    this.#retired.push(known)
    this.#save(known)
  }

  #nextNumber(): number {
    return this.#last + 1
  }

  get #last(): number {
    return Math.max(this.#given.highest, ...[...this.#known.values(), ...this.#retired].map((each) => each.number))
  }

  /**
   * Compares everything, because changes may have been missed: rows may be gone, and stored images of large values may
   * be too old.
   */
  compareAll(): void {
    for (const table of this.#known.values()) {
      table.copy = { ...newCopy(true), altered: true, doubtful: true }
      this.#save(table)
    }
  }

  /** Reads the tables with these names again, because a new definition reads them. */
  copy(names: readonly TableName[]): void {
    for (const table of this.#known.values()) {
      const goesBy = [table, ...table.description.names]
      if (!names.some((name) => goesBy.some((each) => matchesTable(name, each)))) continue
      table.copy = again(table.copy, table.copy.sweep)
      this.#save(table)
    }
  }

  /** Compares a table from the beginning. */
  compare({ number }: BatchTable): void {
    for (const table of this.#known.values()) {
      if (table.number !== number) continue
      table.copy = { ...again(table.copy, true), doubtful: true }
      this.#save(table)
    }
  }

  /** The copy states of all tables, as they are stored. */
  get copies(): CopyState[] {
    return [...this.#known.values()].map(({ copy }) => copy)
  }

  /** How far the first unfinished table has come; empty when all are done. */
  get place(): string {
    for (const { number, copy } of this.#known.values())
      if (copy.state !== 'done') return JSON.stringify([number, copy])
    return ''
  }

  /** Returns the names under which the sync config may read the rows of a table, or null for an unknown one. */
  namesOf(number: number): readonly TableName[] | null {
    const table = [...this.#known.values(), ...this.#retired].find((each) => each.number === number)
    return table ? [table, ...table.description.names] : null
  }

  /** The number of followed tables; before the first session after a start, of those that were followed before. */
  get followed(): number {
    return this.#current.length || [...this.#known.values()].filter(({ fingerprint }) => fingerprint !== '').length
  }

  /** The numbers of the followed tables. */
  get numbers(): number[] {
    return this.#current.map(({ number }) => number)
  }

  copyState(table: FollowedTable): CopyState {
    return this.#known.get(tableKey(table))?.copy ?? NEW_COPY
  }

  /** Returns true when the stored images of its rows, for changes that lack values, are of its present columns. */
  hasImages(table: FollowedTable): boolean {
    const { state, altered = false } = this.copyState(table)
    return state === 'done' || !altered
  }

  /**
   * Stores progress, after the rows that it covers. After a crash in between they are read again, which changes
   * nothing.
   */
  progress(table: FollowedTable, copy: CopyState): void {
    const known = this.#known.get(tableKey(table))
    if (!known) return
    known.copy = copy
    this.#save(known)
  }

  /**
   * Returns true when the stored rows of these tables may not be a state of the source: rows are being compared, are
   * new, or are to be removed.
   */
  doubtful(reads: (names: readonly TableName[]) => boolean): boolean {
    const readsIt = (table: KnownTable): boolean => reads([table, ...table.description.names])
    const current = this.#current.flatMap((table) => this.#known.get(tableKey(table)) ?? [])
    return this.#retired.some(readsIt) || current.some((table) => isDoubtful(table.copy) && readsIt(table))
  }

  /**
   * Returns how much of the comparison is done, 0 to 1, with each table counting the same. Before the first session
   * after a start the number of a table's parts is not known, and taken as one.
   */
  compared(reads: (names: readonly TableName[]) => boolean): number {
    const current = this.#current.map((table) => {
      return { goesBy: [table, ...(table.names ?? [])], copy: this.copyState(table), table }
    })
    const known = [...this.#known.values()].filter(({ fingerprint }) => fingerprint !== '')
    const all =
      current.length > 0
        ? current
        : known.map((table) => ({ goesBy: [table, ...table.description.names], copy: table.copy, table: null }))
    const read = all.filter(({ goesBy }) => reads(goesBy))
    const done = read.reduce((sum, { copy, table }) => sum + (isDoubtful(copy) ? progressOf(copy, table) : 1), 0)
    const removed = this.#retired.filter((table) => reads([table, ...table.description.names])).length
    return read.length + removed === 0 ? 1 : done / (read.length + removed)
  }

  get copying(): boolean {
    return this.#retired.length > 0 || this.#current.some((table) => this.copyState(table).state !== 'done')
  }

  /** A table whose rows must be removed, or null. */
  get retired(): BatchTable | null {
    return this.#retired[0] ?? null
  }

  /** Returns the table that has the name of a retired one, or null. */
  successor(table: TableName): BatchTable | null {
    return this.#known.get(tableKey(table)) ?? null
  }

  /** Forgets a table whose rows are all removed. */
  forget(table: BatchTable): void {
    this.#given.forgotten(table.number, this.#last)
    this.#retired = this.#retired.filter((each) => each.number !== table.number)
    this.#db.run('DELETE FROM tables WHERE number = ?', table.number)
  }

  /** Forgets rows that lack values, because no checkpoint may wait for values that cannot be read. */
  #forgetIncomplete(t: number): void {
    if (this.#incomplete.delete(t)) this.#db.run('DELETE FROM incomplete WHERE t = ?', t)
  }

  status(): TableCopyStatus[] {
    const removed = this.#retired.map((table): TableCopyStatus => {
      return { table: tableText(table), state: 'removing', block: 0, blocks: 0, rows: 0, progress: 0 }
    })
    const current = this.#current.map((table): TableCopyStatus => {
      const copy = this.copyState(table)
      const { state, block, blocks, rows } = copy
      const shown = state === 'sweeping' || state === 'retired' ? 'copying' : state
      const progress = progressOf(copy, table)
      return { table: tableText(table), state: shown, block, blocks, rows, progress }
    })
    return [...current, ...removed]
  }

  get hasIncomplete(): boolean {
    return this.#incomplete.size > 0
  }

  /** Returns true when rows of these tables lack values. */
  lacks(reads: (names: readonly TableName[]) => boolean): boolean {
    for (const t of this.#incomplete.keys()) if (reads(this.namesOf(t) ?? [])) return true
    return false
  }

  isIncomplete(t: number, key: string): boolean {
    return (
      this.#incomplete.has(t) && this.#db.all('SELECT 1 FROM incomplete WHERE t = ? AND key = ?', t, key).length > 0
    )
  }

  setIncomplete(t: number, key: string, pending: boolean): void {
    if (this.isIncomplete(t, key) === pending) return
    this.#db.run(
      pending ? 'INSERT INTO incomplete VALUES (?, ?)' : 'DELETE FROM incomplete WHERE t = ? AND key = ?',
      t,
      key,
    )
    const count = (this.#incomplete.get(t) ?? 0) + (pending ? 1 : -1)
    if (count > 0) this.#incomplete.set(t, count)
    else this.#incomplete.delete(t)
  }

  /** Returns some rows of one table that lack values, or null. */
  incomplete(limit: number): { table: FollowedTable; keys: string[] } | null {
    for (const table of this.#current) {
      if (!this.#incomplete.has(table.number)) continue
      const rows = this.#db.all('SELECT key FROM incomplete WHERE t = ? LIMIT ?', table.number, limit)
      if (rows.length > 0) return { table, keys: rows.map((row) => String(row.key)) }
    }
    return null
  }

  #keep(table: KnownTable): void {
    this.#known.set(tableKey(table), table)
    this.#save(table)
  }

  #save(table: KnownTable): void {
    this.#db.run(
      `INSERT INTO tables VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (number) DO UPDATE SET fingerprint = excluded.fingerprint, copy = excluded.copy, description = excluded.description`,
      ...[
        table.number,
        table.schema,
        table.name,
        table.fingerprint,
        JSON.stringify(table.copy),
        JSON.stringify(table.description),
      ],
    )
  }
}

/**
 * Returns how much of a table is copied, 0 to 1. When `table` is null, the number of its parts is not known, and taken
 * as one.
 */
function progressOf(copy: CopyState, table: FollowedTable | null): number {
  const { state, block, blocks } = copy
  if (state === 'done' || state === 'sweeping') return 1
  if (state !== 'copying') return 0
  return table ? table.source.progress(bareCursor(copy)).done : blocks === 0 ? 1 : block / blocks
}
