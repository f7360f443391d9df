import type { OpId } from '../../../protocol/ops.ts'
import type { Append } from '../ingest/batch.ts'
import type { Database } from '../../shared/database.ts'
import { OutboxSlots, type SlotRow } from './outbox-slots.ts'
import type { StoredDecode } from './storage.ts'

/** The ops of one bucket in a stored batch. */
export interface StoredAppend {
  bucket: number
  first: OpId
  last: OpId
  count: number
  checksum: number
  /** Returns the texts of the ops joined by `,`. Reads them from storage when they are not in memory. */
  body(): string
  /** The length of the body in UTF-16 units. */
  length: number
}

export interface StoredBatch {
  id: number
  /** The op counter after this batch, which is its checkpoint when it is final. */
  last: OpId
  /** False for a slice, which is committed with the next final batch. */
  final: boolean
  /** The plan that serves after this batch. */
  plan: string | null
  appends: StoredAppend[]
}

export interface NewBatch {
  last: OpId
  final: boolean
  plan: string | null
  /** How far the stream is stored with this batch. It is stored here so that it costs no row of its own. */
  decode: StoredDecode
  /** The newest batch up to which all buckets have answered. */
  answered?: number
  appends: ReadonlyMap<number, Append>
}

/** What an object reads of the newest batch when it starts. */
export interface NewestBatch {
  id: number
  final: boolean
  plan: string | null
  decode: StoredDecode | null
  answered: number
  /** True when an older release stored it. */
  ofOlder: boolean
}

interface Head {
  last: OpId
  final: boolean
  plan: string | null
  /** Missing, like `answered`, in batches that were written before it was stored here. */
  decode?: StoredDecode
  answered?: number
  appends: [bucket: number, first: OpId, last: OpId, count: number, checksum: number, length: number][]
}

/** The length of a part in UTF-16 units. A stored value takes at most 2 MB, and a unit up to 3 bytes. */
const PART_LENGTH = 500_000
/**
 * The number of slots that are overwritten and never deleted. Further slots of a large transaction are deleted after
 * it.
 */
const REUSED_SLOTS = 16
/** The number of slots that are read at a time when an object starts. */
const SLOTS_PER_PAGE = 5_000
/** The number of parts in memory while bodies are read from them. */
const READ_PARTS = 4

export const STATEMENTS = {
  slots: 'SELECT slot, batch, part FROM outbox_slots WHERE slot > ? AND batch > ? ORDER BY slot LIMIT ?',
  put: 'INSERT INTO outbox_slots VALUES (?, ?, ?, ?) ON CONFLICT (slot) DO UPDATE SET batch = excluded.batch, part = excluded.part, body = excluded.body',
  body: 'SELECT body FROM outbox_slots WHERE slot = ?',
  delete: 'DELETE FROM outbox_slots WHERE slot > ? AND batch <= ?',
} as const

/**
 * A batch is one text, `<head as JSON>\n<bodies>`, cut into parts of one slot each, which are read one at a time. A
 * later batch overwrites the slot of a committed one, which is never emptied, so a batch of up to 0.5 MB costs one
 * written row, and dropping it none. The commit says which batches are committed. Batches are read one by one: of a
 * transaction of any size, memory holds only where its parts are.
 */
export class Outbox {
  readonly #db: Database
  readonly #slots: OutboxSlots
  readonly #committed: number
  /** The plan of the newest batch. Only used while the batch is not committed. */
  #plan: string | null = null
  /** The parts that were read last, by slot, because the buckets of a batch read them one after the other. */
  readonly #read = new Map<number, string>()

  /** `dropped` is the newest committed batch, or 0. */
  constructor(db: Database, dropped: number) {
    this.#db = db
    this.#committed = dropped
    const rows: SlotRow[] = []
    for (let after = 0; ;) {
      const page = db.all(STATEMENTS.slots, after, dropped, SLOTS_PER_PAGE)
      for (const row of page) rows.push({ slot: Number(row.slot), batch: Number(row.batch), part: Number(row.part) })
      if (page.length < SLOTS_PER_PAGE) break
      after = Number(page.at(-1)?.slot)
    }
    this.#slots = new OutboxSlots(dropped, rows)
    this.#plan = this.newest()?.plan ?? null
  }

  /** Must be called inside the transaction that stores the batch. */
  add(batch: NewBatch): StoredBatch {
    const id = this.#slots.begin()
    const bodies = [...batch.appends].map(([bucket, append]) => ({ bucket, append, body: append.texts.join(',') }))
    const head: Head = {
      last: batch.last,
      final: batch.final,
      plan: batch.plan,
      decode: batch.decode,
      answered: batch.answered ?? 0,
      appends: bodies.map(({ bucket, append: a, body }) => [bucket, a.first, a.last, a.count, a.checksum, body.length]),
    }
    let part = 0
    for (const piece of pieces([`${JSON.stringify(head)}\n`, ...bodies.map(({ body }) => body)])) {
      const slot = this.#slots.take()
      this.#read.delete(slot)
      this.#db.run(STATEMENTS.put, slot, id, part++, piece)
    }
    const appends = bodies.map(({ bucket, append: a, body }) => ({
      bucket,
      first: a.first,
      last: a.last,
      count: a.count,
      checksum: a.checksum,
      body: () => body,
      length: body.length,
    }))
    this.#plan = batch.plan
    return { id, last: batch.last, final: batch.final, plan: batch.plan, appends }
  }

  /** The first and the last uncommitted batch, or null when all are committed. */
  get open(): { first: number; last: number } | null {
    const { oldest, newest } = this.#slots
    return newest < oldest ? null : { first: oldest, last: newest }
  }

  /** The plan of the newest uncommitted batch, or undefined when all are committed. */
  get plan(): string | null | undefined {
    return this.open === null ? undefined : this.#plan
  }

  /** Returns a stored batch. Bodies stay in storage until they are needed. */
  read(id: number): StoredBatch {
    const parts = new Parts(this.#slots.of(id), (slot) => this.#part(slot))
    const head = parts.head()
    let at = 0
    const appends = head.appends.map(([bucket, first, last, count, checksum, length]) => {
      const from = at
      at += length
      return { bucket, first, last, count, checksum, length, body: () => parts.body(from, length) }
    })
    return { id, last: head.last, final: head.final, plan: head.plan, appends }
  }

  /**
   * Returns what the newest batch says, or null when all are committed: then the place in the stream is stored with the
   * commit.
   */
  newest(): NewestBatch | null {
    const { open } = this
    if (open === null) return null
    const { final, plan, decode, answered } = new Parts(this.#slots.of(open.last), (slot) => this.#part(slot)).head()
    return {
      id: open.last,
      final,
      plan,
      decode: decode ?? null,
      answered: answered ?? this.#committed,
      ofOlder: answered === undefined,
    }
  }

  /** Drops all batches up to this one. Must be called inside the transaction that stores their commit. */
  drop(upTo: number): void {
    if (this.#slots.drop(upTo) > REUSED_SLOTS) this.#db.run(STATEMENTS.delete, REUSED_SLOTS, upTo)
    this.#read.clear()
  }

  #part(slot: number): string {
    const known = this.#read.get(slot)
    if (known !== undefined) return known
    const text = String(this.#db.all(STATEMENTS.body, slot)[0]?.body ?? '')
    for (const oldest of this.#read.keys()) {
      if (this.#read.size < READ_PARTS) break
      this.#read.delete(oldest)
    }
    this.#read.set(slot, text)
    return text
  }
}

/** The parts of a batch, read as far as they are needed. */
class Parts {
  readonly #slots: readonly number[]
  readonly #part: (slot: number) => string
  /** Where the bodies begin, and where each part that was read begins, in UTF-16 units of bodies. */
  #from: { part: number; at: number } = { part: 0, at: 0 }
  #starts: number[] = []

  constructor(slots: readonly number[], part: (slot: number) => string) {
    this.#slots = slots
    this.#part = part
  }

  head(): Head {
    let text = ''
    for (const [part, slot] of this.#slots.entries()) {
      const piece = this.#part(slot)
      const end = piece.indexOf('\n')
      if (end < 0) {
        text += piece
        continue
      }
      this.#from = { part, at: end + 1 }
      // The part begins before the bodies, so its start is negative.
      this.#starts = [-(end + 1)]
      return JSON.parse(text + piece.slice(0, end)) as Head
    }
    throw new Error('a stored batch has no head')
  }

  body(from: number, length: number): string {
    let body = ''
    for (let i = 0; body.length < length; i++) {
      const slot = this.#slots[this.#from.part + i]
      const start = this.#starts[i]
      if (slot === undefined || start === undefined) throw new Error('a stored batch is shorter than its head says')
      const next = this.#starts[i + 1]
      const at = from + body.length
      // The body cannot be in this part, so it is not read.
      if (next !== undefined && next <= at) continue
      const piece = this.#part(slot)
      this.#starts[i + 1] = start + piece.length
      if (start + piece.length > at) body += piece.slice(at - start, from + length - start)
    }
    // A substring would keep the whole text in memory, so it is copied.
    return Buffer.from(body).toString()
  }
}

/** Cuts text between characters, because half a surrogate pair would not survive as UTF-8. */
function* pieces(texts: Iterable<string>): Iterable<string> {
  let piece = ''
  for (const text of texts) {
    for (let at = 0; at < text.length;) {
      let end = Math.min(at + PART_LENGTH - piece.length, text.length)
      const unit = text.charCodeAt(end - 1)
      if (end < text.length && unit >= 0xd800 && unit <= 0xdbff) end--
      piece += text.slice(at, end)
      at = end
      if (at === text.length) break
      yield piece
      piece = ''
    }
    if (piece.length < PART_LENGTH) continue
    yield piece
    piece = ''
  }
  if (piece !== '') yield piece
}
