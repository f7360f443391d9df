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
}

export interface RowRef {
  /** Number of the table. */
  t: number
  key: string
}

/** `type` and `id` are left out when they are the usual ones: a row of its own table under its own key. ~40 bytes for such a row. */
export function encodeOutputs(outputs: readonly Output[], usualType: string, usualId: string | null): string {
  return JSON.stringify(
    outputs.map((o) => (o.type === usualType && o.id === usualId ? [o.bucket, o.hash] : [o.bucket, o.hash, o.type, o.id])),
  )
}

export function decodeOutputs(text: string, usualType: string, usualId: string | null): Output[] {
  const list = JSON.parse(text) as [number, string, string?, string?][]
  return list.map(([bucket, hash, type, id]) => ({ bucket, hash, type: type ?? usualType, id: id ?? usualId ?? '' }))
}

/** The text of a key of one column, else null. */
export function singleKey(key: string): string | null {
  const parts = JSON.parse(key) as (string | null)[]
  return parts.length === 1 ? (parts[0] ?? null) : null
}

export class RowStates {
  readonly #db: Database

  constructor(db: Database) {
    this.#db = db
  }

  get(ref: RowRef, usualType: string): RowState | null {
    const row = this.#db.all('SELECT outputs, image FROM rows WHERE t = ? AND key = ?', ref.t, ref.key)[0]
    if (!row) return null
    return {
      outputs: decodeOutputs(String(row.outputs), usualType, singleKey(ref.key)),
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
      encodeOutputs(state.outputs, usualType, singleKey(ref.key)),
      state.image === null ? null : JSON.stringify(state.image),
    )
  }

  /** Keys of a table in order, after `after`. */
  keys(t: number, after: string, limit: number): string[] {
    return this.#db.all('SELECT key FROM rows WHERE t = ? AND key > ? ORDER BY key LIMIT ?', t, after, limit).map((row) => String(row.key))
  }

  any(t: number): boolean {
    return this.#db.all('SELECT 1 FROM rows WHERE t = ? LIMIT 1', t).length > 0
  }
}
