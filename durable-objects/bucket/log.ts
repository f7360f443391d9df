import { addChecksums } from '../../protocol/checksum.ts'
import type {
  BucketState,
  DigestAnswer,
  DigestRequest,
  IdleAnswer,
  ReadAnswer,
  RowsAnswer,
  StateAnswer,
} from '../../protocol/messages/bucket.ts'
import type { OpId } from '../../protocol/ops.ts'
import type { Database } from '../shared/database.ts'
import { Compaction } from './compaction.ts'
import { currentRows, ROWS_LIMITS } from './current-rows.ts'
import { cut, type NewOps } from '../shared/cut.ts'
import { Digest } from './digest.ts'
import { hidesOps, History, type Part } from './history.ts'
import { LOG_LIMITS, type LogLimits } from './limits.ts'
import { mend, type Mended } from './mend.ts'
import { opChecksumOf, opIdOf, parseOp, splitOps } from '../../protocol/op-text.ts'
import { Pages, type Head, type Page } from './storage.ts'

/** The largest page in UTF-16 units: a stored value may have 2 MB, and one unit takes up to 3 bytes of UTF-8. */
const PAGE_LENGTH = 600_000

/** UTF-16 units that one call of a digest reads. */
const DIGEST_LENGTH = 8 * 1024 * 1024

/** UTF-16 units that one step of `mend` reads, and how long the next step may take to come. */
const MEND_LENGTH = 8 * 1024 * 1024
const MEND_LEASE_MS = 60_000

const EMPTY: BucketState = { count: 0, checksum: 0, last: 0 }

/**
 * The op log of one bucket. Everything is synchronous, so each answer is consistent. The file is long because it is the
 * one list of what a log does; each algorithm is in a file of its own (`compaction`, `digest`, `history`, `mend`, …).
 */
export class Log {
  readonly #pages: Pages
  readonly #compaction: Compaction
  readonly #history: History
  readonly #limits: LogLimits
  readonly #now: () => number
  /** A digest that the next call of the same request continues. It is lost with the object, and then begins again. */
  #digest: { request: string; digest: Digest } | null = null
  #mending: { mended: Mended; until: number } | null = null
  /** The committed checkpoint that `publish` brought. Appends bring theirs too, which are stored with their pages. */
  #committed: OpId = 0

  constructor(db: Database, limits: Partial<LogLimits> = {}, now: () => number = Date.now) {
    this.#now = now
    this.#limits = { ...LOG_LIMITS, ...limits }
    this.#pages = new Pages(db)
    this.#compaction = new Compaction(this.#pages, this.#limits, now)
    this.#history = new History(this.#pages, this.#limits)
  }

  /** Sets other limits. */
  limit(limits: Partial<LogLimits>): void {
    Object.assign(this.#limits, limits)
  }

  /** Stores the ops above the head. Returns the state at the last given op, even when the head is beyond it. */
  append(request: NewOps & { committed?: OpId }): BucketState {
    const pages = this.#pages
    pages.create()
    this.raise(request.committed ?? 0)
    const { gone } = pages.header
    // A repeated append from before the bucket was removed: nobody waits for its answer.
    if (gone !== null && request.last <= gone) return { ...EMPTY, last: request.last }
    if (gone !== null) pages.saveHeader({ ...pages.header, gone: null })
    if (request.last <= pages.head.last) return this.state(request.last)
    const { last } = pages.head
    if (request.first > last && request.body.length <= PAGE_LENGTH) this.#add(request)
    else
      for (const page of cut(
        splitOps(request.body).filter((text) => opIdOf(text) > last),
        PAGE_LENGTH,
      ))
        this.#add(page)
    if (pages.history.since === null && this.#mayHide()) this.#noteHistory()
    return this.#current()
  }

  /**
   * Returns whether the last append may have superseded an op. Only for a single page is the exact answer cheap, and
   * most buckets are not longer.
   */
  #mayHide(): boolean {
    const page = this.#pages.after(0)
    return page === null || page.last < this.#pages.head.last || hidesOps(page)
  }

  /**
   * Stores when history is due: one row written. Adds a random delay, so that buckets that change together are not
   * compacted together.
   */
  #noteHistory(): void {
    const since = this.#now() + Math.floor((Math.random() * this.#limits.historyMs) / 10)
    this.#pages.saveHistory({ ...this.#pages.history, since })
  }

  /** When the log must be compacted because of superseded ops, in ms since 1970; null when it holds none. */
  get historyDue(): number | null {
    const { since } = this.#pages.history
    return since === null ? null : since + this.#limits.historyMs
  }

  /** Whether anything was ever stored. */
  get exists(): boolean {
    return this.#pages.exists
  }

  /** The newest op, or 0 when there is none. */
  get last(): OpId {
    return this.#pages.head.last
  }

  /** The highest checkpoint that is known to be committed. */
  get committed(): OpId {
    return Math.max(this.#committed, this.#pages.head.committed)
  }

  /** Whether it holds ops that are not known to be committed. */
  get waiting(): boolean {
    return this.#pages.head.last > this.committed
  }

  raise(committed: OpId): void {
    this.#committed = Math.max(this.#committed, committed)
  }

  /** Whether the bucket was removed and nothing has been appended since. */
  get gone(): boolean {
    return this.#pages.header.gone !== null
  }

  /** Deletes all ops, and ignores those up to `serial` if they are appended again. */
  remove(serial: OpId): void {
    const { head, header } = this.#pages
    if (serial < head.last || (header.gone ?? -1) >= serial) return
    this.#pages.clear({
      removedOps: 0,
      removedBytes: 0,
      target: 0,
      doneBytes: 0,
      keptBytes: 0,
      progress: null,
      gone: serial,
    })
    this.#mending = null
    this.#compaction.forget()
    this.#history.forget()
  }

  /** Returns whether the bucket has no rows and no recent ops. */
  idle(before: OpId): IdleAnswer {
    const { checksum, last } = this.#current()
    const { gone } = this.#pages.header
    if (gone !== null) return { kind: 'empty', checksum: 0, last: gone }
    const found = last > before ? null : currentRows(() => this.pagesBefore(last), last, { ...ROWS_LIMITS, rows: 0 })
    return found === null ? { kind: 'used' } : { kind: 'empty', checksum, last }
  }

  /** Called when all storage was deleted. */
  erased(): void {
    this.#pages.erased()
    this.#mending = null
    this.#compaction.forget()
    this.#history.forget()
    this.#digest = null
  }

  /**
   * Returns whether compaction rewrote what the checkpoint needs. Then only newer checkpoints can be answered, and
   * there are newer ones.
   */
  overtaken(checkpoint: OpId): boolean {
    if (checkpoint >= this.#pages.header.target) return false
    const first = this.#pages.firstOp()
    return first !== null && first <= checkpoint
  }

  stateAt(checkpoint: OpId): StateAnswer {
    if (this.gone) return { kind: 'gone' }
    return this.overtaken(checkpoint) ? { kind: 'overtaken' } : { kind: 'state', ...this.state(checkpoint) }
  }

  /**
   * Returns the state exactly at the checkpoint, which may be inside a page. Only for a checkpoint that is not
   * overtaken.
   */
  state(checkpoint: OpId): BucketState {
    const { head } = this.#pages
    if (checkpoint >= head.last) return this.#current()
    const before = this.#pages.totals(checkpoint)
    let { count, checksum, last } = before ? this.#stored(before) : EMPTY
    const next = this.#pages.after(last)
    for (const text of next && next.first <= checkpoint ? splitOps(next.body) : []) {
      if (opIdOf(text) > checkpoint) break
      count++
      checksum = addChecksums(checksum, opChecksumOf(text))
      last = opIdOf(text)
    }
    return { count, checksum, last }
  }

  /**
   * Returns the ops in (after, checkpoint], in whole pages up to about `budget` UTF-16 units, at least one op. See
   * `History`.
   */
  read(after: OpId, checkpoint: OpId, budget: number): ReadAnswer {
    if (this.gone) return { kind: 'gone' }
    const read: Part[] = []
    let length = 0
    let more = false
    for (const page of this.#pagesBetween(after, checkpoint)) {
      if (page.target > checkpoint) return { kind: 'overtaken' }
      more = length > 0 && length + page.body.length > budget
      if (more) break
      const part = page.first > after && page.last <= checkpoint ? page : partOf(page, after, checkpoint)
      if (part.count === 0) continue
      read.push(part)
      length += page.body.length
    }
    const collapsed = this.#history.collapse(read, after, checkpoint, !more)
    if (collapsed === null) return { kind: 'overtaken' }
    const { bodies, found } = collapsed
    // The op may have come before the code that notes the time existed.
    if (found && this.#pages.history.since === null) this.#noteHistory()
    const count = read.reduce((sum, part) => sum + part.count, 0)
    return { kind: 'ops', body: bodies.join(','), count, last: read.at(-1)?.last ?? after, more }
  }

  /**
   * Returns the data texts of the current rows, in order of object type, id and subkey. With a limit it returns the
   * distinct texts in their own order, or `many` when there are more.
   */
  rows(checkpoint: OpId, limit?: number): RowsAnswer {
    if (this.gone) return { kind: 'gone' }
    if (this.overtaken(checkpoint)) return { kind: 'overtaken' }
    if (limit !== undefined) {
      const found = currentRows(() => this.pagesBefore(checkpoint), checkpoint, { ...ROWS_LIMITS, rows: limit })
      return found === null ? { kind: 'many' } : { kind: 'rows', rows: found.sort() }
    }
    const rows = new Map<string, string>()
    for (const page of this.#pagesBetween(0, checkpoint)) {
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

  /** Does a step of a digest: see `DigestRequest`. */
  digest(request: DigestRequest): DigestAnswer {
    if (this.gone) return { kind: 'gone' }
    const { v: _, ...asked } = request
    // Compaction may have folded the start meanwhile, which changes the count of the ops that were read.
    const key = JSON.stringify([asked, this.#pages.header.removedOps])
    if (this.#digest?.request !== key) {
      const log = {
        overtaken: (checkpoint: OpId) => this.overtaken(checkpoint),
        state: (checkpoint: OpId) => this.state(checkpoint),
        pageAfter: (op: OpId) => this.#pages.after(op),
      }
      this.#digest = { request: key, digest: new Digest(log, request) }
    }
    const answer = this.#digest.digest.step(DIGEST_LENGTH)
    if (answer.kind !== 'more') this.#digest = null
    return answer
  }

  /**
   * Does a step of `mend`. Returns true when there is more to do. The position is lost with the object, and then the
   * work begins again.
   */
  mend(length = MEND_LENGTH): boolean {
    if (!this.#pages.exists) return false
    const mended = mend(this.#pages, this.#mending?.mended ?? EMPTY, length)
    this.#mending = mended && { mended, until: this.#now() + MEND_LEASE_MS }
    this.#compaction.forget()
    return mended !== null
  }

  /**
   * Whether compaction must wait for `mend`, which it would cause to begin again. Only for a limited time, because the
   * caller may not come back.
   */
  get mending(): boolean {
    return this.#mending !== null && this.#now() < this.#mending.until
  }

  /** Returns whether enough has come for a compaction, or one is in progress. */
  get worthCompacting(): boolean {
    return this.#compaction.worthwhile
  }

  /**
   * Does one step of compaction, in one transaction. Returns the UTF-16 units that it read, or null when nothing is
   * left to do.
   */
  compact(): number | null {
    this.#mending = null
    return this.#compaction.step(this.committed)
  }

  /** Stores how far compaction has come, for another incarnation of the object: one row written. */
  pauseCompaction(): void {
    this.#compaction.pause()
  }

  /** Returns the pages with ops up to the checkpoint, the newest first. */
  pagesBefore(checkpoint: OpId): Iterable<Page> {
    return this.#pages.downFrom(checkpoint)
  }

  *#pagesBetween(after: OpId, checkpoint: OpId): Iterable<Page> {
    for (let page = this.#pages.after(after); page && page.first <= checkpoint; page = this.#pages.after(page.last))
      yield page
  }

  #current(): BucketState {
    const { count, checksum, last } = this.#stored(this.#pages.head)
    return { count, checksum, last }
  }

  #stored({ count, checksum, last }: BucketState): BucketState {
    return { count: last === 0 ? 0 : count - this.#pages.header.removedOps, checksum, last }
  }

  #add(page: NewOps): BucketState {
    const { head } = this.#pages
    const bytes = Buffer.byteLength(page.body)
    const extend = head.last > 0 && head.bytes + bytes < this.#limits.extendedBytes
    const next: Head = {
      count: head.count + page.count,
      checksum: addChecksums(head.checksum, page.checksum),
      last: page.last,
      totalBytes: head.totalBytes + bytes,
      bytes: extend ? head.bytes + 1 + bytes : bytes,
      committed: this.committed,
    }
    this.#pages.append(page, next, extend)
    return this.#current()
  }
}

/** Returns the page's ops in (after, checkpoint]. */
function partOf({ body }: Page, after: OpId, checkpoint: OpId): Part {
  const texts = splitOps(body).filter((text) => opIdOf(text) > after && opIdOf(text) <= checkpoint)
  return { body: texts.join(','), count: texts.length, last: opIdOf(texts.at(-1) ?? '') }
}
