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

export const STATEMENTS = {
  insert: 'INSERT INTO outbox VALUES (?, ?, ?)',
  body: 'SELECT body FROM outbox WHERE batch = ? ORDER BY part',
  newest: 'SELECT batch FROM outbox ORDER BY batch DESC LIMIT 1',
  drop: 'DELETE FROM outbox WHERE batch <= ?',
  /** At the start of an object, when the outbox is what a crash left. */
  batches: 'SELECT batch FROM outbox WHERE part = 0 ORDER BY batch',
} as const

/** A batch is one text, `<head as JSON>\n<bodies>`, cut into parts. One row written for a batch of up to 0.5 MB. */
export class Outbox {
  readonly #db: Database
  #nextId: number
  /** The batch read last: at recovery its buckets ask for it one after the other. */
  #read: { id: number; text: string } | null = null

  constructor(db: Database) {
    this.#db = db
    this.#nextId = Number(db.all('SELECT coalesce(max(batch), 0) AS id FROM outbox')[0]?.id ?? 0) + 1
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
    for (const [part, piece] of pieces(text).entries()) this.#db.run(STATEMENTS.insert, id, part, piece)
    const appends = bodies.map(({ bucket, append: a, body }) => ({
      ...{ bucket, first: a.first, last: a.last, count: a.count, checksum: a.checksum },
      ...{ body: () => body, length: body.length },
    }))
    return { id, last: batch.last, final: batch.final, plan: batch.plan, appends }
  }

  /** What a crash left behind, oldest first; bodies stay in storage until they are wanted. */
  recover(): StoredBatch[] {
    const ids = this.#db.all(STATEMENTS.batches).map((row) => Number(row.batch))
    return ids.map((id) => {
      const { head, start } = headOf(this.#text(id))
      let at = start
      const appends = head.appends.map(([bucket, first, last, count, checksum, length]) => {
        const from = at
        at += length
        return { bucket, first, last, count, checksum, length, body: () => this.#text(id).slice(from, from + length) }
      })
      return { id, last: head.last, final: head.final, plan: head.plan, appends }
    })
  }

  /** The decode state of the newest batch; null when there is none. */
  decode(): StoredDecode | null {
    const row = this.#db.all(STATEMENTS.newest)[0]
    if (!row) return null
    return headOf(this.#text(Number(row.batch))).head.decode ?? null
  }

  /** To be called inside the transaction that commits them: all batches up to this one. */
  drop(upTo: number): void {
    this.#db.run(STATEMENTS.drop, upTo)
    this.#read = null
  }

  #text(id: number): string {
    if (this.#read?.id === id) return this.#read.text
    const text = this.#db
      .all(STATEMENTS.body, id)
      .map((row) => String(row.body))
      .join('')
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
