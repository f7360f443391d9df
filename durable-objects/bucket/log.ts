import { addChecksums } from '../../protocol/checksum.ts'
import type { AppendRequest, BucketState, ReadAnswer, RowsAnswer } from '../../protocol/messages.ts'
import type { OpId } from '../../protocol/ops.ts'
import { migrate, type Database, type SqlRow } from '../database.ts'
import { opIdOf, parseOp, splitOps } from './ops.ts'

/**
 * A page is a run of ops, as texts joined by `,`: the way they go on the wire, so serving is copying. `total_…` are those of the whole log up to
 * and with the page: the state at a checkpoint is one lookup. An append of up to a page is one row written.
 *
 * `max_target_op` is for compaction: the newest op in whose favour an op of the page was rewritten (MOVE), or that a run was folded up to (CLEAR;
 * then `first_op` is that of the run). Checkpoints below it cannot be answered exactly any more.
 */
const MIGRATIONS: readonly string[] = [
  `CREATE TABLE pages (
    last_op INTEGER PRIMARY KEY,
    first_op INTEGER NOT NULL,
    count INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    total_count INTEGER NOT NULL,
    total_checksum INTEGER NOT NULL,
    max_target_op INTEGER NOT NULL,
    total_max_target_op INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    body TEXT NOT NULL
  )`,
]

export const STATEMENTS = {
  before: 'SELECT total_count, total_checksum, total_max_target_op, last_op FROM pages WHERE last_op <= ? ORDER BY last_op DESC LIMIT 1',
  across: 'SELECT first_op, max_target_op, body FROM pages WHERE last_op > ? ORDER BY last_op LIMIT 1',
  after: 'SELECT first_op, last_op, count, body FROM pages WHERE last_op > ? ORDER BY last_op LIMIT 1',
  head: 'SELECT last_op, total_count, total_checksum, total_max_target_op FROM pages ORDER BY last_op DESC LIMIT 1',
  insert: 'INSERT INTO pages VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?)',
} as const

/** UTF-16 units of a page: a stored value takes 2 MB, and one unit is up to 3 bytes of UTF-8. */
const PAGE_LENGTH = 600_000

const EMPTY: BucketState = { count: 0, checksum: 0, last: 0 }
const EMPTY_HEAD = { ...EMPTY, target: 0 }

/** The op log of one bucket. Nothing is written before the first append: nobody creates storage by asking. */
export class Log {
  readonly #db: Database
  #exists: boolean
  #head: (BucketState & { target: OpId }) | null = null

  constructor(db: Database) {
    this.#db = db
    this.#exists = db.all("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'pages'").length > 0
  }

  /** Stores the ops above the head. Answers the state at the last op given, also when the head is beyond. */
  append(request: Pick<AppendRequest, 'first' | 'last' | 'count' | 'checksum' | 'body'>): BucketState {
    if (!this.#exists) {
      migrate(this.#db, MIGRATIONS)
      this.#exists = true
    }
    const head = this.#headState()
    if (request.last <= head.last) return this.state(request.last)
    if (request.first > head.last && request.body.length <= PAGE_LENGTH) return this.#add(head, request)
    let state: BucketState = head
    for (const page of cut(splitOps(request.body).filter((text) => opIdOf(text) > head.last))) state = this.#add(this.#headState(), page)
    return state
  }

  /** Compaction rewrote what the checkpoint needs: only newer ones are answered. `state`, `read` and `rows` are exact otherwise. */
  overtaken(checkpoint: OpId): boolean {
    if (!this.#exists || checkpoint >= this.#headState().target) return false
    const before = this.#db.all(STATEMENTS.before, checkpoint)[0]
    if (before && Number(before.total_max_target_op) > checkpoint) return true
    const across = this.#db.all(STATEMENTS.across, checkpoint)[0]
    return across !== undefined && Number(across.first_op) <= checkpoint && Number(across.max_target_op) > checkpoint
  }

  /** Exactly at the checkpoint, which may lie inside a page. */
  state(checkpoint: OpId): BucketState {
    if (!this.#exists) return EMPTY
    const head = this.#headState()
    if (checkpoint >= head.last) return { count: head.count, checksum: head.checksum, last: head.last }
    const row = this.#db.all(STATEMENTS.before, checkpoint)[0]
    let { count, checksum, last } = row ? stateOf(row) : EMPTY
    const next = this.#db.all(STATEMENTS.across, last)[0]
    for (const text of next ? splitOps(String(next.body)) : []) {
      if (opIdOf(text) > checkpoint) break
      count++
      checksum = addChecksums(checksum, parseOp(text).checksum)
      last = opIdOf(text)
    }
    return { count, checksum, last }
  }

  /** Ops in (after, checkpoint], whole pages up to about `budget` UTF-16 units, at least one op. */
  read(after: OpId, checkpoint: OpId, budget: number): Extract<ReadAnswer, { kind: 'ops' }> {
    const bodies: string[] = []
    let count = 0
    let last = after
    let length = 0
    for (const page of this.#pages(after, checkpoint)) {
      if (length > 0 && length + page.body.length > budget) return { kind: 'ops', body: bodies.join(','), count, last, more: true }
      const whole = page.first > after && page.last <= checkpoint
      const texts = whole ? null : splitOps(page.body).filter((text) => opIdOf(text) > after && opIdOf(text) <= checkpoint)
      if (texts?.length === 0) continue
      bodies.push(texts ? texts.join(',') : page.body)
      count += texts ? texts.length : page.count
      last = texts ? opIdOf(texts.at(-1) ?? '') : page.last
      length += page.body.length
    }
    return { kind: 'ops', body: bodies.join(','), count, last, more: false }
  }

  /** The data texts of the current rows, in order of object type, id and subkey. */
  rows(checkpoint: OpId): Extract<RowsAnswer, { kind: 'rows' }> {
    const rows = new Map<string, string>()
    for (const page of this.#pages(0, checkpoint)) {
      for (const text of splitOps(page.body)) {
        if (opIdOf(text) > checkpoint) break
        const op = parseOp(text)
        if (op.op === 'CLEAR') rows.clear()
        if (op.op === 'MOVE' || op.op === 'CLEAR') continue
        const key = JSON.stringify([op.object_type, op.object_id, op.subkey])
        if (op.op === 'PUT') rows.set(key, op.data)
        else rows.delete(key)
      }
    }
    const ordered = [...rows].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    return { kind: 'rows', rows: ordered.map(([, data]) => data) }
  }

  *#pages(after: OpId, checkpoint: OpId): Iterable<{ first: OpId; last: OpId; count: number; body: string }> {
    if (!this.#exists) return
    for (let at = after; ;) {
      const row = this.#db.all(STATEMENTS.after, at)[0]
      if (!row || Number(row.first_op) > checkpoint) return
      at = Number(row.last_op)
      yield { first: Number(row.first_op), last: at, count: Number(row.count), body: String(row.body) }
    }
  }

  #headState(): BucketState & { target: OpId } {
    if (this.#head) return this.#head
    const row = this.#db.all(STATEMENTS.head)[0]
    return (this.#head = row ? { ...stateOf(row), target: Number(row.total_max_target_op) } : EMPTY_HEAD)
  }

  #add(head: BucketState & { target: OpId }, page: Pick<AppendRequest, 'first' | 'last' | 'count' | 'checksum' | 'body'>): BucketState {
    const state = { count: head.count + page.count, checksum: addChecksums(head.checksum, page.checksum), last: page.last }
    const bytes = Buffer.byteLength(page.body)
    const totals = [state.count, state.checksum, head.target] as const
    this.#db.run(STATEMENTS.insert, page.last, page.first, page.count, page.checksum, ...totals, bytes, page.body)
    this.#head = { ...state, target: head.target }
    return state
  }
}

function stateOf(row: SqlRow): BucketState {
  return { count: Number(row.total_count), checksum: Number(row.total_checksum), last: Number(row.last_op) }
}

/** Ops as pages that fit. */
function* cut(texts: readonly string[]): Iterable<Pick<AppendRequest, 'first' | 'last' | 'count' | 'checksum' | 'body'>> {
  for (let at = 0; at < texts.length;) {
    const group: string[] = []
    let length = 0
    while (at < texts.length && (group.length === 0 || length + (texts[at]?.length ?? 0) < PAGE_LENGTH)) {
      const text = texts[at++] ?? ''
      group.push(text)
      length += text.length + 1
    }
    const checksum = group.reduce((sum, text) => addChecksums(sum, parseOp(text).checksum), 0)
    yield { first: opIdOf(group[0] ?? ''), last: opIdOf(group.at(-1) ?? ''), count: group.length, checksum, body: group.join(',') }
  }
}
