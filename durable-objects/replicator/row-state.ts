import type { Database } from '../database.ts'

/** One thing that a source row has put into a bucket: exactly what is there now. */
export interface Output {
  /** Number of the bucket. */
  bucket: number
  type: string
  id: string
  /** 64-bit hash of the data text: an equal one needs no op. */
  hash: string
}

/** Texts of the columns that Postgres may leave out of a change (unchanged TOAST). */
export type RowImage = Record<string, string>

export interface RowState {
  outputs: Output[]
  image: RowImage | null
  /** Equal rows of a table without a key; their outputs are there once. Absent: one. */
  copies?: number
}

export interface RowRef {
  /** Number of the table. */
  t: number
  key: string
}

type StoredOutput = [bucket: number, hash: string, type?: string, id?: string]

/**
 * `type` and `id` are left out when they are the usual ones: a row of its own table under its own key. ~40 bytes for such a row. More copies than
 * one stand in front.
 */
function encodeOutputs({ outputs, copies = 1 }: RowState, usualType: string, usualId: string | null): string {
  const list = outputs.map((o): StoredOutput =>
    o.type === usualType && o.id === usualId ? [o.bucket, o.hash] : [o.bucket, o.hash, o.type, o.id],
  )
  return JSON.stringify(copies === 1 ? list : [copies, ...list])
}

function decodeOutputs(text: string, usualType: string, usualId: string | null): Pick<RowState, 'outputs' | 'copies'> {
  const stored = JSON.parse(text) as (number | StoredOutput)[]
  const copies = typeof stored[0] === 'number' ? stored[0] : 1
  const outputs = stored.flatMap((each) => {
    if (typeof each === 'number') return []
    const [bucket, hash, type, id] = each
    return [{ bucket, hash, type: type ?? usualType, id: id ?? usualId ?? '' }]
  })
  return copies === 1 ? { outputs } : { outputs, copies }
}

/** The text of a key of one column, else null. */
export function singleKey(key: string): string | null {
  const parts = JSON.parse(key) as (string | null)[]
  return parts.length === 1 ? (parts[0] ?? null) : null
}

export class RowStates {
  readonly #db: Database
  readonly #dropped: (bucket: number) => boolean

  /** `dropped`: a bucket that is being taken away: what a row has put there counts no more, and needs no op. */
  constructor(db: Database, dropped: (bucket: number) => boolean = () => false) {
    this.#db = db
    this.#dropped = dropped
  }

  get(ref: RowRef, usualType: string): RowState | null {
    const row = this.#db.all('SELECT outputs, image FROM rows WHERE t = ? AND key = ?', ref.t, ref.key)[0]
    if (!row) return null
    const { outputs, ...copies } = decodeOutputs(String(row.outputs), usualType, singleKey(ref.key))
    return {
      outputs: outputs.filter(({ bucket }) => !this.#dropped(bucket)),
      ...copies,
      image: row.image === null ? null : (JSON.parse(String(row.image)) as RowImage),
    }
  }

  /** One row written. */
  put(ref: RowRef, state: RowState | null, usualType: string): void {
    if (state === null || (state.outputs.length === 0 && state.image === null)) {
      this.#db.run('DELETE FROM rows WHERE t = ? AND key = ?', ref.t, ref.key)
      return
    }
    this.#db.run(
      'INSERT INTO rows VALUES (?, ?, ?, ?) ON CONFLICT (t, key) DO UPDATE SET outputs = excluded.outputs, image = excluded.image',
      ref.t,
      ref.key,
      encodeOutputs(state, usualType, singleKey(ref.key)),
      state.image === null ? null : JSON.stringify(state.image),
    )
  }

  /**
   * A page of rows behind one, from table 1 on, is rid of what is in dropped buckets; rows of a table that nobody reads go altogether. Answers the
   * last one looked at, null when there was none. In a transaction.
   */
  sweep(after: RowRef, limit: number, isRead: (t: number) => boolean): RowRef | null {
    const rows = this.#db.all(
      'SELECT t, key, outputs, image FROM rows WHERE (t, key) > (?, ?) AND t > 0 ORDER BY t, key LIMIT ?',
      ...[after.t, after.key, limit],
    )
    for (const row of rows) {
      const stored = JSON.parse(String(row.outputs)) as (number | StoredOutput)[]
      const kept = stored.filter((each) => typeof each === 'number' || !this.#dropped(each[0]))
      const left = kept.some((each) => typeof each !== 'number') || (row.image !== null && isRead(Number(row.t)))
      if (!left) this.#db.run('DELETE FROM rows WHERE t = ? AND key = ?', Number(row.t), String(row.key))
      else if (kept.length < stored.length) {
        this.#db.run('UPDATE rows SET outputs = ? WHERE t = ? AND key = ?', JSON.stringify(kept), Number(row.t), String(row.key))
      }
    }
    const last = rows.at(-1)
    return last ? { t: Number(last.t), key: String(last.key) } : null
  }

  /** Rows of all tables in order behind one: what each has put into buckets. `nameOf`: what a table is called, see `get`. */
  page(after: RowRef, limit: number, nameOf: (t: number) => string): { ref: RowRef; outputs: Output[] }[] {
    const rows = this.#db.all(
      'SELECT t, key, outputs FROM rows WHERE (t, key) > (?, ?) ORDER BY t, key LIMIT ?',
      ...[after.t, after.key, limit],
    )
    return rows.map((row) => {
      const ref = { t: Number(row.t), key: String(row.key) }
      const { outputs } = decodeOutputs(String(row.outputs), nameOf(ref.t), singleKey(ref.key))
      return { ref, outputs: outputs.filter(({ bucket }) => !this.#dropped(bucket)) }
    })
  }

  /** Keys of a table in order, in [from, to); `to` null is the end. */
  range(t: number, from: string, to: string | null): string[] {
    const rows =
      to === null
        ? this.#db.all('SELECT key FROM rows WHERE t = ? AND key >= ? ORDER BY key', t, from)
        : this.#db.all('SELECT key FROM rows WHERE t = ? AND key >= ? AND key < ? ORDER BY key', t, from, to)
    return rows.map((row) => String(row.key))
  }

  /** Keys of a table in order, after `after`. */
  keys(t: number, after: string, limit: number): string[] {
    return this.#db.all('SELECT key FROM rows WHERE t = ? AND key > ? ORDER BY key LIMIT ?', t, after, limit).map((row) => String(row.key))
  }

  any(t: number): boolean {
    return this.#db.all('SELECT 1 FROM rows WHERE t = ? LIMIT 1', t).length > 0
  }
}
