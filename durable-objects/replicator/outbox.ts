import type { OpId } from '../../protocol/ops.ts'
import type { Append } from './batch.ts'
import type { Database } from '../database.ts'
import type { StoredDecode } from './storage.ts'

/** The ops of one bucket in a stored batch. */
export interface StoredAppend {
  bucket: number
  first: OpId
  last: OpId
  count: number
  checksum: number
  /** Their texts joined by `,`; read again from storage when it is not in memory. */
  body(): string
  /** UTF-16 units of the body. */
  length: number
}

export interface StoredBatch {
  id: number
  /** Op counter behind this batch: the checkpoint that it makes, when it is final. */
  last: OpId
  /** False for a slice: it is committed with the next final one. */
  final: boolean
  /** The serving plan behind this batch. */
  plan: string | null
  appends: StoredAppend[]
}

export interface NewBatch {
  last: OpId
  final: boolean
  plan: string | null
  /** How far the stream has been taken in behind this batch: stored here, so that it costs no row of its own. */
  decode: StoredDecode
  appends: ReadonlyMap<number, Append>
}

interface Head {
  last: OpId
  final: boolean
  plan: string | null
  /** Absent in batches of before it was kept here. */
  decode?: StoredDecode
  appends: [bucket: number, first: OpId, last: OpId, count: number, checksum: number, length: number][]
}

/** A stored value takes 2 MB at most, and a UTF-16 unit 3 bytes. */
const PART_LENGTH = 500_000
/** Slots that are written over again and again; what a large transaction needs beyond them is deleted behind it. */
const KEPT_SLOTS = 16

export const STATEMENTS = {
  slots: 'SELECT slot, batch FROM outbox_slots WHERE batch > ? ORDER BY batch, part',
  put: 'INSERT INTO outbox_slots VALUES (?, ?, ?, ?) ON CONFLICT (slot) DO UPDATE SET batch = excluded.batch, part = excluded.part, body = excluded.body',
  body: 'SELECT body FROM outbox_slots WHERE slot = ?',
  delete: 'DELETE FROM outbox_slots WHERE slot > ? AND batch <= ?',
} as const

/**
 * A batch is one text, `<head as JSON>\n<bodies>`, cut into parts, one in a slot. A slot whose batch is committed is written over by a later one and never
 * emptied: one row written for a batch of up to 0.5 MB, and none when it is dropped. What is committed is stored with the commit.
 */
export class Outbox {
  readonly #db: Database
  /** Slots of each batch that is not committed, in order of batches and parts. */
  readonly #batches = new Map<number, number[]>()
  readonly #used = new Set<number>()
  #nextId: number
  /** The batch read last: at recovery its buckets ask for it one after the other. */
  #read: { id: number; text: string } | null = null

  /** `dropped`: the newest batch that is committed, 0 for none. */
  constructor(db: Database, dropped: number) {
    this.#db = db
    this.#nextId = dropped + 1
    for (const row of db.all(STATEMENTS.slots, dropped)) {
      const id = Number(row.batch)
      this.#take(id, Number(row.slot))
      this.#nextId = id + 1
    }
  }

  /** To be called inside the transaction that stores the batch. */
  add(batch: NewBatch): StoredBatch {
    const id = this.#nextId++
    const bodies = [...batch.appends].map(([bucket, append]) => ({ bucket, append, body: append.texts.join(',') }))
    const head: Head = {
      last: batch.last,
      final: batch.final,
      plan: batch.plan,
      decode: batch.decode,
      appends: bodies.map(({ bucket, append: a, body }) => [bucket, a.first, a.last, a.count, a.checksum, body.length]),
    }
    const text = `${JSON.stringify(head)}\n${bodies.map((each) => each.body).join('')}`
    for (const [part, piece] of pieces(text).entries()) this.#db.run(STATEMENTS.put, this.#take(id, this.#free), id, part, piece)
    const appends = bodies.map(({ bucket, append: a, body }) => ({
      ...{ bucket, first: a.first, last: a.last, count: a.count, checksum: a.checksum },
      ...{ body: () => body, length: body.length },
    }))
    return { id, last: batch.last, final: batch.final, plan: batch.plan, appends }
  }

  /** What a crash left behind, oldest first; bodies stay in storage until they are wanted. */
  recover(): StoredBatch[] {
    return [...this.#batches.keys()].map((id) => {
      const { head, start } = headOf(this.#text(id))
      let at = start
      const appends = head.appends.map(([bucket, first, last, count, checksum, length]) => {
        const from = at
        at += length
        // A slice would keep the whole text in memory that it was cut from; a copy does not.
        const body = () => Buffer.from(this.#text(id).slice(from, from + length)).toString()
        return { bucket, first, last, count, checksum, length, body }
      })
      return { id, last: head.last, final: head.final, plan: head.plan, appends }
    })
  }

  /** The decode state of the newest batch; null when all are committed: then it is stored with the commit. */
  decode(): StoredDecode | null {
    const newest = [...this.#batches.keys()].at(-1)
    return newest === undefined ? null : (headOf(this.#text(newest)).head.decode ?? null)
  }

  /** To be called inside the transaction that commits them, and stores that: all batches up to this one. */
  drop(upTo: number): void {
    let beyond = false
    for (const [id, slots] of this.#batches) {
      if (id > upTo) break
      this.#batches.delete(id)
      for (const slot of slots) {
        this.#used.delete(slot)
        beyond ||= slot > KEPT_SLOTS
      }
    }
    if (beyond) this.#db.run(STATEMENTS.delete, KEPT_SLOTS, upTo)
    this.#read = null
  }

  /** The lowest slot that may be written over. */
  get #free(): number {
    for (let slot = 1; ; slot++) if (!this.#used.has(slot)) return slot
  }

  #take(id: number, slot: number): number {
    this.#used.add(slot)
    const slots = this.#batches.get(id)
    if (slots) slots.push(slot)
    else this.#batches.set(id, [slot])
    return slot
  }

  #text(id: number): string {
    if (this.#read?.id === id) return this.#read.text
    const slots = this.#batches.get(id) ?? []
    const text = slots.flatMap((slot) => this.#db.all(STATEMENTS.body, slot).map((row) => String(row.body))).join('')
    this.#read = { id, text }
    return text
  }
}

function headOf(text: string): { head: Head; start: number } {
  const start = text.indexOf('\n') + 1
  return { head: JSON.parse(text.slice(0, start)) as Head, start }
}

/** Cuts between characters: half a surrogate pair would not survive as UTF-8. */
function pieces(text: string): string[] {
  const result: string[] = []
  for (let at = 0; at < text.length;) {
    let end = Math.min(at + PART_LENGTH, text.length)
    const unit = text.charCodeAt(end - 1)
    if (end < text.length && unit >= 0xd800 && unit <= 0xdbff) end--
    result.push(text.slice(at, end))
    at = end
  }
  return result
}
