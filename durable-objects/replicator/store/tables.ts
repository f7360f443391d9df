import { tableKey, tableText, type TableName } from '../../../protocol/tables.ts'
import type { SourceTable } from '../../../sources/source.ts'
import type { TableCopyStatus } from '../../../protocol/messages/admin.ts'
import { matchesTable } from '../../../sync-config/index.ts'
import type { Database } from '../../shared/database.ts'
import type { BatchTable } from '../ingest/batch.ts'
import { GivenNumbers } from './given-numbers.ts'
import { bareCursor, isDoubtful, NEW_COPY, newCopy, type CopyState } from '../copy/copy-state.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'

/** What rows are called and told apart by. */
interface Description {
  names: readonly TableName[]
  /** Columns of the key with their types. Keys of another kind cannot be compared. */
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

/** The replicated tables, how far their copies are, and the rows that lack values. */
export class Tables {
  readonly #db: Database
  readonly #given: GivenNumbers
  /** By name; retired ones are not among them. */
  readonly #known = new Map<string, KnownTable>()
  #retired: KnownTable[] = []
  #current: FollowedTable[] = []
  /** By table: how many rows lack values. */
  readonly #incomplete = new Map<number, number>()

  constructor(db: Database) {
    this.#db = db
    this.#given = new GivenNumbers(db, 'givenTables')
    for (const row of db.all('SELECT number, schema, name, fingerprint, copy, description FROM tables')) {
      const description = JSON.parse(String(row.description)) as Partial<Description>
      const table: KnownTable = {
        ...{ number: Number(row.number), schema: String(row.schema), name: String(row.name), fingerprint: String(row.fingerprint) },
        copy: JSON.parse(String(row.copy)) as CopyState,
        description: { names: description.names ?? [], key: description.key ?? '' },
      }
      if (table.copy.state === 'retired') this.#retired.push(table)
      else this.#known.set(tableKey(table), table)
    }
    for (const row of db.all('SELECT t, count(*) AS n FROM incomplete GROUP BY t')) this.#incomplete.set(Number(row.t), Number(row.n))
  }

  /**
   * The tables of the session that begins. New ones, and those whose definition has changed, are to be copied. `kept`: what a table goes by that
   * is not among them only because something is wrong with it, or that nobody reads: its rows stay, and it is compared when it comes back. The
   * rows of others are taken out.
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
      return known ? [{ number: known.number, schema: table.schema, name: table.name, names: table.names, source: table }] : []
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

  /** Its rows go when nothing is copied any more: what replaces them comes first. */
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

  /** Everything is compared, and rows may have gone without our hearing of it. What is stored of large values may be older than what was not heard. */
  compareAll(): void {
    for (const table of this.#known.values()) {
      table.copy = { ...newCopy(true), altered: true, doubtful: true }
      this.#save(table)
    }
  }

  /** The tables of these names are read again, because something sees them for the first time. */
  copy(names: readonly TableName[]): void {
    for (const table of this.#known.values()) {
      const goesBy = [table, ...table.description.names]
      if (!names.some((name) => goesBy.some((each) => matchesTable(name, each)))) continue
      table.copy = again(table.copy, table.copy.sweep)
      this.#save(table)
    }
  }

  /** A table is compared from the beginning. */
  compare({ number }: BatchTable): void {
    for (const table of this.#known.values()) {
      if (table.number !== number) continue
      table.copy = { ...again(table.copy, true), doubtful: true }
      this.#save(table)
    }
  }

  /** Of all tables, as they are stored. */
  get copies(): CopyState[] {
    return [...this.#known.values()].map(({ copy }) => copy)
  }

  /** How far the first table is that is not done; empty when all are. */
  get place(): string {
    for (const { number, copy } of this.#known.values()) if (copy.state !== 'done') return JSON.stringify([number, copy])
    return ''
  }

  /** Names under which the sync config may read the rows of a table; null for one that is not known. */
  namesOf(number: number): readonly TableName[] | null {
    const table = [...this.#known.values(), ...this.#retired].find((each) => each.number === number)
    return table ? [table, ...table.description.names] : null
  }

  /** How many are followed; before the first session after a start, how many were. */
  get followed(): number {
    return this.#current.length || [...this.#known.values()].filter(({ fingerprint }) => fingerprint !== '').length
  }

  /** Those that are followed now. */
  get numbers(): number[] {
    return this.#current.map(({ number }) => number)
  }

  copyState(table: FollowedTable): CopyState {
    return this.#known.get(tableKey(table))?.copy ?? NEW_COPY
  }

  /** What is stored of its rows, for changes that lack values, is of the columns that it has. */
  hasImages(table: FollowedTable): boolean {
    const { state, altered = false } = this.copyState(table)
    return state === 'done' || !altered
  }

  /** Behind the rows that it speaks of: after a crash in between they are read again, which changes nothing. */
  progress(table: FollowedTable, copy: CopyState): void {
    const known = this.#known.get(tableKey(table))
    if (!known) return
    known.copy = copy
    this.#save(known)
  }

  /** Whether what is stored of these tables may be of no state of the source: rows are compared, are new, or are to be taken out. */
  doubtful(reads: (names: readonly TableName[]) => boolean): boolean {
    const readsIt = (table: KnownTable): boolean => reads([table, ...table.description.names])
    const current = this.#current.flatMap((table) => this.#known.get(tableKey(table)) ?? [])
    return this.#retired.some(readsIt) || current.some((table) => isDoubtful(table.copy) && readsIt(table))
  }

  /**
   * How much of that is done, 0 to 1: each table counts the same. Before the first session after a start nobody knows how many parts a table has: then it is
   * taken to have one.
   */
  compared(reads: (names: readonly TableName[]) => boolean): number {
    const current = this.#current.map((table) => {
      return { goesBy: [table, ...(table.names ?? [])], copy: this.copyState(table), table }
    })
    const known = [...this.#known.values()].filter(({ fingerprint }) => fingerprint !== '')
    const all =
      current.length > 0 ? current : known.map((table) => ({ goesBy: [table, ...table.description.names], copy: table.copy, table: null }))
    const read = all.filter(({ goesBy }) => reads(goesBy))
    const done = read.reduce((sum, { copy, table }) => sum + (isDoubtful(copy) ? progressOf(copy, table) : 1), 0)
    const removed = this.#retired.filter((table) => reads([table, ...table.description.names])).length
    return read.length + removed === 0 ? 1 : done / (read.length + removed)
  }

  get copying(): boolean {
    return this.#retired.length > 0 || this.#current.some((table) => this.copyState(table).state !== 'done')
  }

  /** A table whose rows are to be taken out. */
  get retired(): BatchTable | null {
    return this.#retired[0] ?? null
  }

  /** The table that goes by the name of one that is retired. */
  successor(table: TableName): BatchTable | null {
    return this.#known.get(tableKey(table)) ?? null
  }

  /** All its rows are gone. */
  forget(table: BatchTable): void {
    this.#given.forgotten(table.number, this.#last)
    this.#retired = this.#retired.filter((each) => each.number !== table.number)
    this.#db.run('DELETE FROM tables WHERE number = ?', table.number)
  }

  /** No checkpoint waits for values that cannot be read. */
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

  /** Whether rows of these tables lack values. */
  lacks(reads: (names: readonly TableName[]) => boolean): boolean {
    for (const t of this.#incomplete.keys()) if (reads(this.namesOf(t) ?? [])) return true
    return false
  }

  isIncomplete(t: number, key: string): boolean {
    return this.#incomplete.has(t) && this.#db.all('SELECT 1 FROM incomplete WHERE t = ? AND key = ?', t, key).length > 0
  }

  setIncomplete(t: number, key: string, pending: boolean): void {
    if (this.isIncomplete(t, key) === pending) return
    this.#db.run(pending ? 'INSERT INTO incomplete VALUES (?, ?)' : 'DELETE FROM incomplete WHERE t = ? AND key = ?', t, key)
    const count = (this.#incomplete.get(t) ?? 0) + (pending ? 1 : -1)
    if (count > 0) this.#incomplete.set(t, count)
    else this.#incomplete.delete(t)
  }

  /** Some rows of one table that lack values. */
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
      ...[table.number, table.schema, table.name, table.fingerprint, JSON.stringify(table.copy), JSON.stringify(table.description)],
    )
  }
}

/** How much of a table is copied, 0 to 1. `table` null: nobody knows how many parts it has, so it is taken to have one. */
function progressOf(copy: CopyState, table: FollowedTable | null): number {
  const { state, block, blocks } = copy
  if (state === 'done' || state === 'sweeping') return 1
  if (state !== 'copying') return 0
  return table ? table.source.progress(bareCursor(copy)).done : blocks === 0 ? 1 : block / blocks
}
