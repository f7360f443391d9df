import { identifier, type Sqlite } from '../../sqlite/sqlite.ts'
import { hash } from './hash.ts'
import { GENERATIONS, typeOf } from './layout.ts'
import { tableStatements, type TableStatements } from './table-statements.ts'
import type { StoredTable } from './tables.ts'
import type { SqlValue } from '../../types.ts'

// Ops of the server in tables, bases and copies. The file is long because these three change together.

/** Where a row is from: bucket and generation, and the hash of the subkey. */
interface Origin {
  src: number
  sub: number
}

interface Copy extends Origin {
  op: number
  data: string
}

/** A row of a real table, with its proven link. */
interface Linked extends Origin {
  rid: number
  op: number
}

export class DamagedTable extends Error {
  override readonly name = 'DamagedTable'
  readonly table: string

  constructor(table: string) {
    super(`a row of ${table} has no origin, or that of another row`)
    this.table = table
  }
}

const bucketOf = (src: number): number => Math.floor(src / GENERATIONS)
const isSame = (a: Origin, b: Origin): boolean => bucketOf(a.src) === bucketOf(b.src) && a.sub === b.sub

/**
 * Ops of the server in one transaction, into tables, bases and copies. The caller empties rp_capture before, and
 * derives what is marked in rp_dirty after.
 */
export class Applier {
  readonly #db: Sqlite
  readonly #tables: ReadonlyMap<string, StoredTable>
  readonly #targets = new Map<string, Target>()
  /** Names of tables of the schema of which rows have changed. */
  readonly changed = new Set<string>()

  constructor(db: Sqlite, tables: ReadonlyMap<string, StoredTable>) {
    this.#db = db
    this.#tables = tables
  }

  put(src: number, table: string, id: string, subkey: string, op: number, data: string): void {
    this.#target(table).put(id, { src, sub: hash(subkey), op, data })
  }

  remove(src: number, table: string, id: string, subkey: string): void {
    this.#target(table).remove(id, { src, sub: hash(subkey) })
  }

  /** Removes what the bucket has of other generations than this one; null: everything. */
  sweep(bucket: number, generation: number | null): void {
    const [from, to] = [bucket * GENERATIONS, (bucket + 1) * GENERATIONS]
    const src = generation === null ? -1 : from + generation
    const found = (sql: string): SqlValue[][] => this.#db.prepare(sql).all([from, to, src])
    const names = new Map(this.#db.prepare('SELECT id, name FROM rp_types').all() as [number, string][])
    const wanted = 'src >= ? AND src < ? AND src <> ?'
    // Copies before what is shown of them: nothing of this bucket may come to light again.
    for (const [type, id, of, sub] of found(`SELECT type, row_id, src, sub FROM rp_copies WHERE ${wanted}`)) {
      this.#target(names.get(type as number) ?? '').remove(id as string, { src: of as number, sub: sub as number })
    }
    for (const [type, id, of, sub] of found(`SELECT type, row_id, src, sub FROM rp_base WHERE ${wanted}`)) {
      this.#target(names.get(type as number) ?? '').remove(id as string, { src: of as number, sub: sub as number })
    }
    for (const name of this.#tables.keys()) this.#target(name).sweep([from, to, src])
  }

  /** Shows the rows of a table that the schema did not have. Ops of an earlier file may cover them. */
  adopt(table: string): void {
    this.#target(table).adopt()
  }

  #target(name: string): Target {
    let target = this.#targets.get(name)
    if (!target) {
      const table = this.#tables.get(name)
      const type = typeOf(this.#db, name)
      const changed = (): void => void this.changed.add(name)
      target =
        table && !table.local ? new RealTable(this.#db, type, { name, table, changed }) : new Target(this.#db, type)
      this.#targets.set(name, target)
    }
    return target
  }
}

/** A table that the schema lacks: its rows wait among the copies. */
class Target {
  protected readonly db: Sqlite
  protected readonly type: number
  /** Whether there may be copies of its rows. */
  protected copied: boolean

  constructor(db: Sqlite, type: number) {
    this.db = db
    this.type = type
    this.copied = db.prepare('SELECT 1 FROM rp_copies WHERE type = ? LIMIT 1').all([type]).length > 0
  }

  put(id: string, copy: Copy): void {
    this.keep(id, copy)
  }

  remove(id: string, origin: Origin): void {
    this.forget(id, origin)
  }

  sweep(_range: readonly number[]): void {}

  adopt(): void {}

  /** Takes the place of the same origin's copy, also of an older generation. */
  protected keep(id: string, { src, sub, op, data }: Copy): void {
    this.forget(id, { src, sub })
    this.db
      .prepare('INSERT INTO rp_copies (type, row_id, src, sub, op, data) VALUES (?, ?, ?, ?, ?, ?)')
      .run([this.type, id, src, sub, op, data])
    this.copied = true
  }

  protected forget(id: string, { src, sub }: Origin): void {
    if (!this.copied) return
    const from = bucketOf(src) * GENERATIONS
    this.db
      .prepare('DELETE FROM rp_copies WHERE type = ? AND row_id = ? AND src >= ? AND src < ? AND sub = ?')
      .run([this.type, id, from, from + GENERATIONS, sub])
  }

  /** The newest first. */
  protected copies(id: string): Copy[] {
    if (!this.copied) return []
    const rows = this.db
      .prepare('SELECT src, sub, op, data FROM rp_copies WHERE type = ? AND row_id = ? ORDER BY op DESC')
      .all([this.type, id])
    return rows.map(([src, sub, op, data]) => ({
      src: src as number,
      sub: sub as number,
      op: op as number,
      data: data as string,
    }))
  }
}

interface OfTable {
  name: string
  table: StoredTable
  changed(): void
}

class RealTable extends Target {
  readonly #with: OfTable
  readonly #sql: TableStatements
  readonly #covers: boolean
  /** The highest row number that is in use, or was. */
  #last: number

  constructor(db: Sqlite, type: number, options: OfTable) {
    super(db, type)
    this.#with = options
    this.#sql = tableStatements(options.name, options.table)
    this.#covers = db.prepare('SELECT 1 FROM rp_base WHERE type = ? LIMIT 1').all([type]).length > 0
    this.#last = Number(db.prepare(`SELECT coalesce(max(rowid), 0) FROM ${identifier(options.name)}`).all()[0]?.[0])
  }

  override put(id: string, copy: Copy): void {
    const base = this.#base(id)
    if (base !== undefined) return this.#putBase(id, base, copy)
    this.#with.changed()
    if (this.#insert(id, copy)) return
    const linked = this.#linked(id)
    if (isSame(linked, copy)) {
      this.#update(linked.rid, copy)
      if (this.copied && this.copies(id).length > 0) this.#putCopy(id, copy, linked.rid)
      return
    }
    if (this.copies(id).length === 0) this.keep(id, this.#shown(linked))
    this.#putCopy(id, copy, linked.rid)
  }

  override remove(id: string, origin: Origin): void {
    this.forget(id, origin)
    const rest = this.copies(id)
    const base = this.#base(id)
    if (base !== undefined) {
      if (base !== null && isSame(base, origin)) this.#setBase(id, rest[0] ?? null)
    } else {
      const row = this.#find(id)
      if (row === null) return
      if (isSame(row, origin)) {
        this.#with.changed()
        if (rest[0]) this.#update(row.rid, rest[0])
        else this.#delete(row.rid)
      }
    }
    if (rest[0] && rest.length === 1) this.forget(id, rest[0])
  }

  override sweep(range: readonly number[]): void {
    const ids = this.db.prepare(this.#sql.swept).all(range)
    for (const [id, src, sub] of ids) {
      if (typeof id !== 'string') throw new DamagedTable(this.#with.name)
      this.remove(id, { src: src as number, sub: sub as number })
    }
  }

  override adopt(): void {
    const ids = this.db.prepare('SELECT DISTINCT row_id FROM rp_copies WHERE type = ?').all([this.type])
    for (const [rowId] of ids) {
      const id = rowId as string
      const [newest, ...others] = this.copies(id)
      if (!newest) continue
      if (this.#base(id) === undefined) this.#insert(id, newest)
      else this.#setBase(id, newest)
      if (others.length === 0) this.forget(id, newest)
    }
  }

  /** Undefined: not covered. Null: covered, and the server has no such row. */
  #base(id: string): Origin | null | undefined {
    if (!this.#covers) return undefined
    const row = this.db.prepare('SELECT src, sub FROM rp_base WHERE type = ? AND row_id = ?').all([this.type, id])[0]
    if (!row) return undefined
    return row[0] === null ? null : { src: row[0] as number, sub: row[1] as number }
  }

  #putBase(id: string, base: Origin | null, copy: Copy): void {
    if (base === null) return this.#setBase(id, copy)
    const several = this.copies(id).length > 0
    if (isSame(base, copy) && !several) return this.#setBase(id, copy)
    if (!several) {
      const [data, rest, op] =
        this.db.prepare('SELECT data, rest, op FROM rp_base WHERE type = ? AND row_id = ?').all([this.type, id])[0] ??
        []
      this.keep(id, { ...base, op: op as number, data: whole(data as string, rest as string | null) })
    }
    this.keep(id, copy)
    const [newest, ...others] = this.copies(id)
    if (newest) this.#setBase(id, newest)
    if (newest && others.length === 0) this.forget(id, newest)
  }

  /** A row that local changes cover: only its base changes, and it is derived again. */
  #setBase(id: string, copy: Copy | null): void {
    this.db.prepare('INSERT OR IGNORE INTO rp_dirty VALUES (?, ?)').run([this.type, id])
    if (copy === null) {
      this.db
        .prepare(
          'UPDATE rp_base SET src = NULL, op = NULL, sub = NULL, data = NULL, rest = NULL WHERE type = ? AND row_id = ?',
        )
        .run([this.type, id])
    } else this.db.prepare(this.#sql.setBase).run([this.type, id, copy.src, copy.op, copy.sub, copy.data])
  }

  /** Adds a copy to those that there are; the table shows the newest. */
  #putCopy(id: string, copy: Copy, rid: number): void {
    this.keep(id, copy)
    const [newest, ...others] = this.copies(id)
    if (newest) this.#update(rid, newest)
    if (newest && others.length === 0) this.forget(id, newest)
  }

  /** False: there is a row of this id. */
  #insert(id: string, { src, sub, op, data }: Copy): boolean {
    const rid = this.#last + 1
    if (this.db.prepare(this.#sql.insert).run([rid, id, data]) === 0) return false
    this.#last = rid
    this.db.prepare(this.#sql.link).run([rid, hash(id), src, op, sub, data])
    return true
  }

  #find(id: string): Linked | null {
    const [row] = this.db.prepare(this.#sql.find).all([id])
    if (!row) return null
    const [rid, proof, src, sub, op] = row
    if (proof !== hash(id)) throw new DamagedTable(this.#with.name)
    return { rid: rid as number, src: src as number, sub: sub as number, op: op as number }
  }

  #linked(id: string): Linked {
    const row = this.#find(id)
    if (row === null) throw new DamagedTable(this.#with.name)
    return row
  }

  #shown({ rid, ...origin }: Linked): Copy {
    const [data, rest] = this.db.prepare(this.#sql.shown).all([rid])[0] ?? []
    return { ...origin, data: whole(data as string, rest as string | null) }
  }

  #update(rid: number, { src, sub, op, data }: Copy): void {
    this.db.prepare(this.#sql.update).run([rid, data])
    this.db.prepare(this.#sql.relink).run([rid, src, op, sub, data])
  }

  #delete(rid: number): void {
    this.db.prepare(this.#sql.delete).run([rid])
    this.db.prepare(this.#sql.unlink).run([rid])
  }
}

/** Columns and what there is no column for, as one object. */
const whole = (data: string, rest: string | null): string =>
  rest === null ? data : `${data.slice(0, -1)},${rest.slice(1)}`
