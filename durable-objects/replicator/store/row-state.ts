import { quote } from '../../../protocol/op-text.ts'
import type { RowImage } from '../../../sources/source.ts'
import { BARE_FORM, bareState, toStored, type StateForm, type StoredState } from '../../../sources/stored.ts'
import type { Database, SqlRow } from '../../shared/database.ts'

// The file is long because encoding, limits and statements belong to one stored form.

/** One row that a source row has put into a bucket, exactly as it is there now. */
export interface Output {
  /** The number of the bucket. */
  bucket: number
  type: string
  id: string
  /**
   * The hash of the data text, see `strongHash`. An equal one needs no op. Older versions stored a weak one, see
   * `isWeak`. For a mailbox it is the number.
   */
  hash: string
  /**
   * Set when its subkey is that of older versions (`weakSubkeyOf`): the row was in the bucket before there were
   * stronger ones, and keeps it until it is removed.
   */
  weakSubkey?: true
  /**
   * The weak hash of the same text, for a row that was only read again: it is compared with what an older version
   * stored. Not stored.
   */
  weak?: string
}

/**
 * Returns true for a 64-bit hash, as versions up to message version 1 stored it. A second text with the same one can be
 * found within a second.
 */
export const isWeak = (hash: string): boolean => hash.length === WEAK_DIGITS
const WEAK_DIGITS = 16
/** The prefix of a stored hash whose subkey is weak. */
const WEAK_SUBKEY = '~'

/**
 * Returns true when a wanted output needs no op, because it equals the one that is there. A weak hash is enough for
 * rows that were only read again, because nothing says that they have changed: `docs/decisions/0010`.
 */
export const sameContent = (there: Output, wanted: Output): boolean =>
  there.hash === wanted.hash || there.hash === wanted.weak

export type { RowImage }

export interface RowState {
  outputs: Output[]
  image: RowImage | null
  /** The number of equal rows of a table without a key, whose outputs are there once. Absent means one. */
  copies?: number
}

export interface RowRef {
  /** The number of the table. */
  t: number
  key: string
}

type StoredOutput = [bucket: number, hash: string, type?: string, id?: string]

/**
 * Encodes outputs as a JSON list of `StoredOutput`. `type` and `id` are left out when they are the usual ones: a row of
 * its own table under its own key, which takes ~45 bytes. A number of copies above one comes first. A `~` before the
 * hash marks a weak subkey; a weak hash always has one.
 */
function encodeOutputs({ outputs, copies = 1 }: RowState, usualType: string, usualId: string | null): string {
  let list = copies === 1 ? '' : String(copies)
  for (const { bucket, hash: content, weakSubkey, type, id } of outputs) {
    const hash = weakSubkey && !isWeak(content) ? WEAK_SUBKEY + content : content
    const usual = type === usualType && id === usualId
    list += `${list === '' ? '' : ','}[${bucket},${quote(hash)}${usual ? '' : `,${quote(type)},${quote(id)}`}]`
  }
  return `[${list}]`
}

/** The most bytes of a row's outputs. A value, and a row of SQLite, takes 2 MB. */
export const MAX_OUTPUTS_BYTES = 1_000_000
/** The most bytes that are stored of a row, without its key. */
const MAX_STATE_BYTES = 1_950_000
/** The most bytes of an output besides its type and id. */
const OUTPUT_LENGTH = 80
/** The most bytes of an image besides its texts, which name the kind of source. */
const IMAGE_LENGTH = 200

/** Returns true when the outputs of a row can be stored. */
export function outputsFit(state: RowState, table: { name: string }, key: string): boolean {
  return outputsBytes(state, table, key, MAX_OUTPUTS_BYTES) <= MAX_OUTPUTS_BYTES
}

/** Images of another kind of source are not used: see `Tables.hasImages`. */
const imageOf = (stored: string): RowImage => bareState(JSON.parse(stored) as StoredState) as RowImage

/**
 * Returns true when the image of a row can be stored beside its outputs. Without it, values that a change leaves out
 * are read again.
 */
export function imageFits(state: RowState, table: { name: string }, key: string): boolean {
  if (state.image === null) return true
  let units = 0
  for (const name in state.image) units += name.length + (state.image[name]?.length ?? 0)
  // A UTF-16 unit takes up to six bytes of JSON.
  if (6 * units + OUTPUT_LENGTH * state.outputs.length + IMAGE_LENGTH < MAX_STATE_BYTES - MAX_OUTPUTS_BYTES) return true
  return (
    Buffer.byteLength(JSON.stringify(state.image)) + IMAGE_LENGTH + outputsBytes(state, table, key, 0) <=
    MAX_STATE_BYTES
  )
}

/** Returns the bytes of the outputs. Exact above `enough`; below it may be an overestimate. */
function outputsBytes(state: RowState, { name }: { name: string }, key: string, enough: number): number {
  let units = 0
  for (const { type, id } of state.outputs) units += type.length + id.length
  const most = OUTPUT_LENGTH * state.outputs.length + 6 * units
  return most <= enough ? most : Buffer.byteLength(encodeOutputs(state, name, singleKey(key)))
}

function decodeOutputs(text: string, usualType: string, usualId: string | null): Pick<RowState, 'outputs' | 'copies'> {
  const stored = JSON.parse(text) as (number | StoredOutput)[]
  const copies = typeof stored[0] === 'number' ? stored[0] : 1
  const outputs = stored.flatMap((each) => {
    if (typeof each === 'number') return []
    const [bucket, stored, type, id] = each
    const output: Output = { bucket, type: type ?? usualType, id: id ?? usualId ?? '', hash: stored }
    if (stored.startsWith(WEAK_SUBKEY)) output.hash = stored.slice(WEAK_SUBKEY.length)
    if (isWeak(stored) || stored !== output.hash) output.weakSubkey = true
    return [output]
  })
  return copies === 1 ? { outputs } : { outputs, copies }
}

/** Matches a key of one column whose text needs no escapes. */
const PLAIN_KEY = /^\["([^"\\]*)"\]$/

/** Returns the text of a key of one column, or null for other keys. */
export function singleKey(key: string): string | null {
  const plain = PLAIN_KEY.exec(key)?.[1]
  if (plain !== undefined) return plain
  const parts = JSON.parse(key) as (string | null)[]
  return parts.length === 1 ? (parts[0] ?? null) : null
}

/** The most UTF-16 units of a bound list. It takes at most 2 MB, and a unit up to 3 bytes. */
const LIST_LENGTH = 400_000

/**
 * Statements for many rows at a time, because a call of SQLite takes several times as long as its work for one row.
 * Reading outputs by key, which most rows need, is the cheapest.
 */
export const STATEMENTS = {
  get: 'SELECT outputs, image FROM rows WHERE t = ? AND key = ?',
  getAll: 'SELECT key, outputs, image FROM rows WHERE t = ? AND key IN (SELECT value FROM json_each(?))',
  put: 'INSERT INTO rows VALUES (?, ?, ?, ?) ON CONFLICT (t, key) DO UPDATE SET outputs = excluded.outputs, image = excluded.image',
  putOutputs: `INSERT INTO rows SELECT ?, key, value, NULL FROM json_each(?) WHERE true
    ON CONFLICT (t, key) DO UPDATE SET outputs = excluded.outputs, image = excluded.image`,
  putImages: `INSERT INTO rows SELECT ?, value->>0, value->>1, value->>2 FROM json_each(?) WHERE true
    ON CONFLICT (t, key) DO UPDATE SET outputs = excluded.outputs, image = excluded.image`,
  delete: 'DELETE FROM rows WHERE t = ? AND key IN (SELECT value FROM json_each(?))',
} as const

/** Rows of one table to store, by key; null deletes a row. */
export interface TableRows {
  table: { number: number; name: string }
  states: ReadonlyMap<string, RowState | null>
}

export class RowStates {
  readonly #db: Database
  readonly #dropped: (bucket: number) => boolean
  #form: StateForm = BARE_FORM

  /** `dropped` returns true for a bucket that is being removed: outputs there no longer count, and need no op. */
  constructor(db: Database, dropped: (bucket: number) => boolean = () => false) {
    this.#db = db
    this.#dropped = dropped
  }

  /** Sets the kind of the images that are stored from now on. */
  imagesOf(form: StateForm): void {
    this.#form = form
  }

  get(ref: RowRef, usualType: string): RowState | null {
    const row = this.#db.all(STATEMENTS.get, ref.t, ref.key)[0]
    return row ? this.#stateOf(row, ref.key, usualType) : null
  }

  /** Returns the rows with these keys that exist. */
  all(t: number, keys: readonly string[], usualType: string): Map<string, RowState> {
    const found = new Map<string, RowState>()
    if (keys.length === 1) {
      const [key = ''] = keys
      const state = this.get({ t, key }, usualType)
      return state ? found.set(key, state) : found
    }
    for (const list of lists(keys.map((key) => JSON.stringify(key)))) {
      for (const row of this.#db.all(STATEMENTS.getAll, t, `[${list}]`)) {
        const key = String(row.key)
        found.set(key, this.#stateOf(row, key, usualType))
      }
    }
    return found
  }

  #stateOf(row: SqlRow, key: string, usualType: string): RowState {
    const { outputs, ...copies } = decodeOutputs(String(row.outputs), usualType, singleKey(key))
    return {
      outputs: outputs.filter(({ bucket }) => !this.#dropped(bucket)),
      ...copies,
      image: row.image === null ? null : imageOf(String(row.image)),
    }
  }

  /** Stores rows. Writes one row for each. */
  put(tables: Iterable<TableRows>): void {
    for (const { table, states } of tables) this.#put(table, states)
  }

  #put({ number, name }: TableRows['table'], states: TableRows['states']): void {
    const gone: string[] = []
    const plain: string[] = []
    const withImage: string[] = []
    for (const [key, state] of states) {
      if (state === null || (state.outputs.length === 0 && state.image === null)) {
        gone.push(JSON.stringify(key))
        continue
      }
      const outputs = encodeOutputs(state, name, singleKey(key))
      const image = state.image === null ? null : this.#imageText(number, state.image)
      const text = image === null ? `${JSON.stringify(key)}:${outputs}` : JSON.stringify([key, outputs, image])
      // Stored separately, because with its quotes escaped it may be too large to be bound.
      if (text.length > LIST_LENGTH) this.#db.run(STATEMENTS.put, number, key, outputs, image)
      else if (image === null) plain.push(text)
      else withImage.push(text)
    }
    for (const list of lists(gone)) this.#db.run(STATEMENTS.delete, number, `[${list}]`)
    for (const list of lists(plain)) this.#db.run(STATEMENTS.putOutputs, number, `{${list}}`)
    for (const list of lists(withImage)) this.#db.run(STATEMENTS.putImages, number, `[${list}]`)
  }

  /** Returns the image as it is stored. Mailboxes are not rows of a source, so theirs is not wrapped. */
  #imageText(t: number, image: RowImage): string {
    return JSON.stringify(t === 0 ? image : toStored(this.#form, image))
  }

  /**
   * Removes the outputs in dropped buckets from the next `limit` rows after `after`, from table 1 on; rows of a table
   * that nobody reads are deleted. Returns the last row that was processed, or null when there was none. Called in a
   * transaction.
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
        this.#db.run(
          'UPDATE rows SET outputs = ? WHERE t = ? AND key = ?',
          JSON.stringify(kept),
          Number(row.t),
          String(row.key),
        )
      }
    }
    const last = rows.at(-1)
    return last ? { t: Number(last.t), key: String(last.key) } : null
  }

  /**
   * Returns the outputs of the next rows of all tables after a row. `nameOf` returns the name of a table, see `get`.
   */
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

  /** Returns the first keys of a table in [from, to), in order; null as `to` means the end. */
  range(t: number, from: string, to: string | null, limit: number): string[] {
    const rows =
      to === null
        ? this.#db.all('SELECT key FROM rows WHERE t = ? AND key >= ? ORDER BY key LIMIT ?', t, from, limit)
        : this.#db.all(
            'SELECT key FROM rows WHERE t = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?',
            t,
            from,
            to,
            limit,
          )
    return rows.map((row) => String(row.key))
  }

  /** Returns the next keys of a table after `after`, in order. */
  keys(t: number, after: string, limit: number): string[] {
    return this.#db
      .all('SELECT key FROM rows WHERE t = ? AND key > ? ORDER BY key LIMIT ?', t, after, limit)
      .map((row) => String(row.key))
  }

  any(t: number): boolean {
    return this.#db.all('SELECT 1 FROM rows WHERE t = ? LIMIT 1', t).length > 0
  }
}

/** Joins texts by `,`, as many at a time as can be bound. */
function* lists(texts: readonly string[]): Iterable<string> {
  for (let at = 0; at < texts.length;) {
    const from = at
    for (let length = 0; at < texts.length && (at === from || length + (texts[at]?.length ?? 0) <= LIST_LENGTH); at++) {
      length += (texts[at]?.length ?? 0) + 1
    }
    yield texts.slice(from, at).join(',')
  }
}
