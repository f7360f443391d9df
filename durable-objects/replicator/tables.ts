import type { CatalogTable } from '../../postgres/index.ts'
import type { TableCopyStatus } from '../../protocol/messages.ts'
import type { Database } from '../database.ts'
import type { SourceTable } from './intake.ts'
import type { CopyState } from './reader.ts'

interface KnownTable {
  number: number
  schema: string
  name: string
  fingerprint: string
  copy: CopyState
}

const NEW_COPY: CopyState = { state: 'waiting', filenode: 0, block: 0, blocks: 0, rows: 0, sweep: false, after: '' }
const KEYS_PER_READ = 1_000

/** The replicated tables, how far their copies are, and the rows that lack values. */
export class Tables {
  readonly #db: Database
  readonly #known = new Map<string, KnownTable>()
  #current: SourceTable[] = []
  #incomplete: number

  constructor(db: Database) {
    this.#db = db
    for (const row of db.all('SELECT number, schema, name, fingerprint, copy FROM tables')) {
      const copy = JSON.parse(String(row.copy)) as CopyState
      const table = {
        number: Number(row.number),
        schema: String(row.schema),
        name: String(row.name),
        fingerprint: String(row.fingerprint),
        copy,
      }
      this.#known.set(nameOf(table), table)
    }
    this.#incomplete = Number(db.all('SELECT count(*) AS n FROM incomplete')[0]?.n ?? 0)
  }

  /** The tables of the session that begins. New ones, and those whose definition has changed, are to be copied. */
  use(catalog: readonly CatalogTable[], hasRows: (table: number) => boolean): SourceTable[] {
    this.#db.transaction(() => {
      for (const table of catalog) {
        const known = this.#known.get(nameOf(table))
        if (known?.fingerprint === table.fingerprint) continue
        const number = known?.number ?? Math.max(0, ...[...this.#known.values()].map((each) => each.number)) + 1
        const copy = { ...NEW_COPY, sweep: hasRows(number) }
        const next = { number, schema: table.schema, name: table.name, fingerprint: table.fingerprint, copy }
        this.#known.set(nameOf(table), next)
        this.#save(next)
      }
    })
    this.#current = catalog.flatMap((table) => {
      const known = this.#known.get(nameOf(table))
      return known ? [{ number: known.number, schema: table.schema, name: table.name, catalog: table }] : []
    })
    return this.#current
  }

  /** Everything is read again. `sweep`: rows may have gone without our hearing of it. */
  copyAll(sweep: boolean): void {
    for (const table of this.#known.values()) {
      table.copy = { ...NEW_COPY, sweep: sweep || table.copy.sweep }
      this.#save(table)
    }
  }

  copyState(table: SourceTable): CopyState {
    return this.#known.get(nameOf(table))?.copy ?? NEW_COPY
  }

  /** Behind the rows that it speaks of: after a crash in between they are read again, which changes nothing. */
  progress(table: SourceTable, copy: CopyState): void {
    const known = this.#known.get(nameOf(table))
    if (!known) return
    known.copy = copy
    this.#save(known)
  }

  get copying(): boolean {
    return this.#current.some((table) => this.copyState(table).state !== 'done')
  }

  status(): TableCopyStatus[] {
    return this.#current.map((table) => {
      const { state, block, blocks, rows } = this.copyState(table)
      return { table: `${table.schema}.${table.name}`, state: state === 'sweeping' ? 'copying' : state, block, blocks, rows }
    })
  }

  get hasIncomplete(): boolean {
    return this.#incomplete > 0
  }

  setIncomplete(t: number, key: string, pending: boolean): void {
    if (!pending && this.#incomplete === 0) return
    const there = this.#db.all('SELECT 1 FROM incomplete WHERE t = ? AND key = ?', t, key).length > 0
    if (there === pending) return
    this.#db.run(pending ? 'INSERT INTO incomplete VALUES (?, ?)' : 'DELETE FROM incomplete WHERE t = ? AND key = ?', t, key)
    this.#incomplete += pending ? 1 : -1
  }

  /** Rows of one table that lack values. */
  incomplete(): { table: SourceTable; keys: string[] } | null {
    if (this.#incomplete === 0) return null
    for (const table of this.#current) {
      const rows = this.#db.all('SELECT key FROM incomplete WHERE t = ? LIMIT ?', table.number, KEYS_PER_READ)
      if (rows.length > 0) return { table, keys: rows.map((row) => String(row.key)) }
    }
    return null
  }

  #save(table: KnownTable): void {
    this.#db.run(
      `INSERT INTO tables VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (number) DO UPDATE SET fingerprint = excluded.fingerprint, copy = excluded.copy`,
      table.number,
      table.schema,
      table.name,
      table.fingerprint,
      JSON.stringify(table.copy),
    )
  }
}

const nameOf = (table: { schema: string; name: string }) => JSON.stringify([table.schema, table.name])
