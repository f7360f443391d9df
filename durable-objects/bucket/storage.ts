import type { BucketState } from '../../protocol/messages/bucket.ts'
import type { OpId } from '../../protocol/ops.ts'
import { migrate, type Database, type SqlRow } from '../shared/database.ts'

// The tables of a bucket. The file is long because statements stand beside the tables that they read.

/**
 * A page is a run of ops, as texts joined by `,`: their form on the wire, so that serving is copying. `total_…` are the
 * totals of everything ever appended up to the end of the page, so that the state at a checkpoint is one lookup.
 * `committed` is the committed checkpoint that the last append to the page carried.
 *
 * `max_target_op` is for compaction: the newest op that superseded a rewritten op of the page (MOVE), or the op up to
 * which a run was folded (CLEAR; then `first_op` is that of the run).
 *
 * header: one row from the first compaction on. It counts what compaction removed, so that the totals of later pages
 * stay valid. `target` is the highest `max_target_op` so far. `done_bytes` is `total_bytes` up to the limit of the last
 * run, `kept_bytes` what that run left stored. `gone` is the op up to which the bucket was removed.
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
  `
  ALTER TABLE pages RENAME COLUMN total_max_target_op TO total_bytes;
  ALTER TABLE pages ADD COLUMN committed INTEGER NOT NULL DEFAULT 0;
  CREATE TABLE header (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    removed_ops INTEGER NOT NULL,
    removed_bytes INTEGER NOT NULL,
    target INTEGER NOT NULL,
    done_bytes INTEGER NOT NULL,
    kept_bytes INTEGER NOT NULL,
    progress TEXT,
    gone INTEGER
  );
  `,
  'CREATE TABLE history (id INTEGER PRIMARY KEY CHECK (id = 1), clean INTEGER NOT NULL, since INTEGER)',
]

const PAGE = 'last_op, first_op, count, checksum, max_target_op, total_bytes, bytes, body'

export const STATEMENTS = {
  before: 'SELECT total_count, total_checksum, last_op FROM pages WHERE last_op <= ? ORDER BY last_op DESC LIMIT 1',
  after: `SELECT ${PAGE} FROM pages WHERE last_op > ? ORDER BY last_op LIMIT 1`,
  upTo: `SELECT ${PAGE} FROM pages WHERE last_op <= ? ORDER BY last_op DESC LIMIT 1`,
  firstOp: 'SELECT first_op FROM pages ORDER BY last_op LIMIT 1',
  head: 'SELECT last_op, total_count, total_checksum, total_bytes, bytes, committed FROM pages ORDER BY last_op DESC LIMIT 1',
  insert: `INSERT INTO pages (last_op, first_op, count, checksum, total_count, total_checksum, total_bytes, committed, max_target_op, bytes, body)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)`,
  extend: `UPDATE pages SET last_op = ?, count = count + ?, checksum = (checksum + ?) & 4294967295, total_count = ?, total_checksum = ?, total_bytes = ?,
    committed = ?, bytes = bytes + ?, body = body || ',' || ? WHERE last_op = ?`,
  rewrite:
    'UPDATE pages SET first_op = ?, count = ?, checksum = ?, max_target_op = ?, bytes = ?, body = ? WHERE last_op = ?',
  retotal:
    'UPDATE pages SET total_count = ?, total_checksum = ? WHERE last_op = ? AND (total_count <> ? OR total_checksum <> ?)',
  delete: 'DELETE FROM pages WHERE last_op >= ? AND last_op < ?',
  header: 'SELECT removed_ops, removed_bytes, target, done_bytes, kept_bytes, progress, gone FROM header WHERE id = 1',
  saveHeader: 'INSERT OR REPLACE INTO header VALUES (1, ?, ?, ?, ?, ?, ?, ?)',
  history: 'SELECT clean, since FROM history WHERE id = 1',
  saveHistory: 'INSERT OR REPLACE INTO history VALUES (1, ?, ?)',
} as const

export interface Page {
  last: OpId
  first: OpId
  count: number
  checksum: number
  target: OpId
  totalBytes: number
  bytes: number
  body: string
}

/** What an append needs to know about the newest page. `count` is that of everything ever appended. */
export interface Head extends BucketState {
  totalBytes: number
  bytes: number
  committed: OpId
}

export interface Header {
  removedOps: number
  removedBytes: number
  target: OpId
  doneBytes: number
  keptBytes: number
  progress: Progress | null
  gone: OpId | null
}

/** See the table `history`. */
export interface HistoryMark {
  clean: OpId
  since: number | null
}

/**
 * The position of a compaction. It looks for rows whose newest op is ≤ `from`, in pages up to and including `cursor`.
 */
export interface Progress {
  /** Ops above it are not changed, and they do not supersede others. */
  limit: OpId
  from: OpId
  cursor: OpId
  /** The op with which the next pass begins, when there were more rows than may be remembered. */
  next: OpId | null
  /** `total_bytes` at the limit. */
  totalBytes: number
  /**
   * Equal to `from` if nothing was missed so far. Code that does not know this member changes `from` alone, and may
   * have missed something.
   */
  sure?: OpId
}

const NO_HEAD: Head = { count: 0, checksum: 0, last: 0, totalBytes: 0, bytes: 0, committed: 0 }
const NO_HEADER: Header = {
  removedOps: 0,
  removedBytes: 0,
  target: 0,
  doneBytes: 0,
  keptBytes: 0,
  progress: null,
  gone: null,
}
const NO_HISTORY: HistoryMark = { clean: 0, since: null }

/** The pages of one bucket. Nothing is written before the first append, so that a question never creates storage. */
export class Pages {
  readonly db: Database
  #exists: boolean
  #head: Head | null = null
  #header: Header | null = null
  #history: HistoryMark | null = null

  constructor(db: Database) {
    this.db = db
    this.#exists = db.all("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'pages'").length > 0
    if (this.#exists) migrate(db, MIGRATIONS)
  }

  get exists(): boolean {
    return this.#exists
  }

  create(): void {
    if (this.#exists) return
    migrate(this.db, MIGRATIONS)
    this.#exists = true
  }

  get head(): Head {
    if (this.#head) return this.#head
    const row = this.#exists ? this.db.all(STATEMENTS.head)[0] : undefined
    if (!row) return (this.#head = NO_HEAD)
    const { totalBytes, bytes, committed } = {
      totalBytes: Number(row.total_bytes),
      bytes: Number(row.bytes),
      committed: Number(row.committed),
    }
    return (this.#head = { ...stateOf(row), totalBytes, bytes, committed })
  }

  get header(): Header {
    if (this.#header) return this.#header
    const row = this.#exists ? this.db.all(STATEMENTS.header)[0] : undefined
    return (this.#header = row ? headerOf(row) : NO_HEADER)
  }

  /** One row written. Inside a transaction: call `forget` when it fails. */
  saveHeader(header: Header): void {
    const { removedOps, removedBytes, target, doneBytes, keptBytes, progress, gone } = header
    const text = progress === null ? null : JSON.stringify(progress)
    this.db.run(STATEMENTS.saveHeader, removedOps, removedBytes, target, doneBytes, keptBytes, text, gone)
    this.#header = header
  }

  get history(): HistoryMark {
    if (this.#history) return this.#history
    const row = this.#exists ? this.db.all(STATEMENTS.history)[0] : undefined
    return (this.#history = row
      ? { clean: Number(row.clean), since: row.since === null ? null : Number(row.since) }
      : NO_HISTORY)
  }

  /** One row written. Inside a transaction: call `forget` when it fails. */
  saveHistory(history: HistoryMark): void {
    this.db.run(STATEMENTS.saveHistory, history.clean, history.since)
    this.#history = history
  }

  /** Adds a page, or extends the newest one: one row written either way. */
  append(
    page: { first: OpId; last: OpId; count: number; checksum: number; body: string },
    head: Head,
    extend: boolean,
  ): void {
    const { last, first, count, checksum, body } = page
    const bytes = Buffer.byteLength(body)
    const totals = [head.count, head.checksum, head.totalBytes, head.committed] as const
    if (extend) this.db.run(STATEMENTS.extend, last, count, checksum, ...totals, bytes + 1, body, this.head.last)
    else this.db.run(STATEMENTS.insert, last, first, count, checksum, ...totals, bytes, body)
    this.#head = head
  }

  /** Returns the first page with an op above `op`. */
  after(op: OpId): Page | null {
    return this.#page(STATEMENTS.after, op)
  }

  /** Returns the last page without an op above `op`. */
  upTo(op: OpId): Page | null {
    return this.#page(STATEMENTS.upTo, op)
  }

  /** Returns the pages with ops up to the checkpoint, the newest first. */
  *downFrom(checkpoint: OpId): Iterable<Page> {
    const last = this.after(checkpoint)
    if (last && last.first <= checkpoint) yield last
    for (let page = this.upTo(checkpoint); page; page = this.upTo(page.first - 1)) yield page
  }

  /** Replaces all pages from `oldest` to `newest` with one, whose last op is that of `newest`. */
  replace(oldest: Page, newest: Page, page: Omit<Page, 'last' | 'totalBytes'>): void {
    if (newest.last === this.head.last) this.#head = { ...this.head, bytes: page.bytes }
    if (oldest.last < newest.last) this.db.run(STATEMENTS.delete, oldest.last, newest.last)
    this.db.run(
      STATEMENTS.rewrite,
      page.first,
      page.count,
      page.checksum,
      page.target,
      page.bytes,
      page.body,
      newest.last,
    )
  }

  /** Sets the totals after a page. Writes nothing when they are the same. */
  retotal(last: OpId, count: number, checksum: number): void {
    this.db.run(STATEMENTS.retotal, count, checksum, last, count, checksum)
  }

  /** Returns the appended totals of the last page without an op above `op`. */
  totals(op: OpId): BucketState | null {
    const row = this.#exists ? this.db.all(STATEMENTS.before, op)[0] : undefined
    return row ? stateOf(row) : null
  }

  firstOp(): OpId | null {
    const row = this.#exists ? this.db.all(STATEMENTS.firstOp)[0] : undefined
    return row ? Number(row.first_op) : null
  }

  /** Drops the table of pages and keeps the header. Deleting the rows would be billed one by one. */
  clear(header: Header): void {
    this.create()
    this.db.transaction(() => {
      const made = String(this.db.all("SELECT sql FROM sqlite_master WHERE name = 'pages'")[0]?.sql)
      this.db.run('DROP TABLE pages')
      this.db.run(made)
      this.saveHeader(header)
    })
    this.#head = NO_HEAD
  }

  /** Called when all storage was deleted. */
  erased(): void {
    this.#exists = false
    this.forget()
  }

  /** Discards cached state, which may be ahead of storage after a failed transaction. */
  forget(): void {
    this.#head = null
    this.#header = null
    this.#history = null
  }

  #page(sql: string, op: OpId): Page | null {
    const row = this.#exists ? this.db.all(sql, op)[0] : undefined
    if (!row) return null
    return {
      last: Number(row.last_op),
      first: Number(row.first_op),
      count: Number(row.count),
      checksum: Number(row.checksum),
      target: Number(row.max_target_op),
      totalBytes: Number(row.total_bytes),
      bytes: Number(row.bytes),
      body: String(row.body),
    }
  }
}

function stateOf(row: SqlRow): BucketState {
  return { count: Number(row.total_count), checksum: Number(row.total_checksum), last: Number(row.last_op) }
}

function headerOf(row: SqlRow): Header {
  const progress: Progress | null = row.progress === null ? null : JSON.parse(String(row.progress))
  return {
    removedOps: Number(row.removed_ops),
    removedBytes: Number(row.removed_bytes),
    target: Number(row.target),
    doneBytes: Number(row.done_bytes),
    keptBytes: Number(row.kept_bytes),
    progress,
    gone: row.gone === null ? null : Number(row.gone),
  }
}
