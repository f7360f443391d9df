import { addChecksums } from '../../protocol/checksum.ts'
import type {
  AppendRequest,
  BucketState,
  DigestAnswer,
  DigestRequest,
  ReadAnswer,
  RowsAnswer,
  StateAnswer,
} from '../../protocol/messages.ts'
import type { OpId } from '../../protocol/ops.ts'
import type { Database } from '../database.ts'
import { Compaction } from './compaction.ts'
import { currentRows, ROWS_LIMITS } from './current-rows.ts'
import { Digest } from './digest.ts'
import { LOG_LIMITS, type LogLimits } from './limits.ts'
import { mend } from './mend.ts'
import { opChecksumOf, opIdOf, parseOp, splitOps } from './ops.ts'
import { Pages, type Head, type Page } from './storage.ts'

type NewOps = Pick<AppendRequest, 'first' | 'last' | 'count' | 'checksum' | 'body'>

/** UTF-16 units of a page: a stored value takes 2 MB, and one unit is up to 3 bytes of UTF-8. */
const PAGE_LENGTH = 600_000

/** UTF-16 units that one call of a digest reads. */
const DIGEST_LENGTH = 8 * 1024 * 1024

const EMPTY: BucketState = { count: 0, checksum: 0, last: 0 }

/** The op log of one bucket. Everything is synchronous, so an answer is of one moment. */
export class Log {
  readonly #pages: Pages
  readonly #compaction: Compaction
  readonly #limits: LogLimits
  /** One that goes on with the next call of the same request; lost with the object, and then it begins again. */
  #digest: { request: string; digest: Digest } | null = null
  /** From `publish`; what appends carry is stored with their pages. */
  #committed: OpId = 0

  constructor(db: Database, limits: Partial<LogLimits> = {}) {
    this.#limits = { ...LOG_LIMITS, ...limits }
    this.#pages = new Pages(db)
    this.#compaction = new Compaction(this.#pages, this.#limits)
  }

  /** Stores the ops above the head. Answers the state at the last op given, also when the head is beyond. */
  append(request: NewOps & { committed?: OpId }): BucketState {
    const pages = this.#pages
    pages.create()
    this.raise(request.committed ?? 0)
    const { gone } = pages.header
    // Repeated from before the bucket was removed: nobody waits for the answer.
    if (gone !== null && request.last <= gone) return { ...EMPTY, last: request.last }
    if (gone !== null) pages.saveHeader({ ...pages.header, gone: null })
    if (request.last <= pages.head.last) return this.state(request.last)
    if (request.first > pages.head.last && request.body.length <= PAGE_LENGTH) return this.#add(request)
    const { last } = pages.head
    for (const page of cut(splitOps(request.body).filter((text) => opIdOf(text) > last))) this.#add(page)
    return this.#current()
  }

  /** The newest op; 0: there is none. */
  get last(): OpId {
    return this.#pages.head.last
  }

  /** The highest checkpoint that is known to be committed. */
  get committed(): OpId {
    return Math.max(this.#committed, this.#pages.head.committed)
  }

  /** It holds ops of which it has not heard that they are committed. */
  get waiting(): boolean {
    return this.#pages.head.last > this.committed
  }

  raise(committed: OpId): void {
    this.#committed = Math.max(this.#committed, committed)
  }

  /** The bucket was removed, and nothing has come since. */
  get gone(): boolean {
    return this.#pages.header.gone !== null
  }

  /** Forgets all ops, and ignores those up to `serial` if they come again. */
  remove(serial: OpId): void {
    const { head, header } = this.#pages
    if (serial < head.last || (header.gone ?? -1) >= serial) return
    this.#pages.clear({ removedOps: 0, removedBytes: 0, target: 0, doneBytes: 0, keptBytes: 0, progress: null, gone: serial })
    this.#compaction.forget()
  }

  /** Compaction rewrote what the checkpoint needs: only newer ones are answered, and there are newer ones. */
  overtaken(checkpoint: OpId): boolean {
    if (checkpoint >= this.#pages.header.target) return false
    const first = this.#pages.firstOp()
    return first !== null && first <= checkpoint
  }

  stateAt(checkpoint: OpId): StateAnswer {
    if (this.gone) return { kind: 'gone' }
    return this.overtaken(checkpoint) ? { kind: 'overtaken' } : { kind: 'state', ...this.state(checkpoint) }
  }

  /** Exactly at the checkpoint, which may lie inside a page; to be asked when it is not overtaken. */
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

  /** Ops in (after, checkpoint], whole pages up to about `budget` UTF-16 units, at least one op. */
  read(after: OpId, checkpoint: OpId, budget: number): ReadAnswer {
    if (this.gone) return { kind: 'gone' }
    const bodies: string[] = []
    let count = 0
    let last = after
    let length = 0
    for (const page of this.#pagesBetween(after, checkpoint)) {
      if (page.target > checkpoint) return { kind: 'overtaken' }
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

  /**
   * The data texts of the current rows, in order of object type, id and subkey. With a limit the distinct ones in their own order, or `many` when there
   * are more.
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

  /** A step of it, see `DigestRequest`. */
  digest(request: DigestRequest): DigestAnswer {
    if (this.gone) return { kind: 'gone' }
    const { v: _, ...asked } = request
    // Where compaction has folded the start meanwhile, what was counted is counted otherwise.
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

  /** Ops and totals that do not fit each other are made to. */
  mend(): void {
    if (!this.#pages.exists) return
    mend(this.#pages)
    this.#compaction.forget()
  }

  /** Whether enough has come for a compaction, or one is under way. */
  get worthCompacting(): boolean {
    return this.#compaction.worthwhile
  }

  /** One step of compaction, one transaction. Answers the UTF-16 units that it read, or null when nothing is left to do. */
  compact(): number | null {
    return this.#compaction.step(this.committed)
  }

  /** Keeps how far it came for another incarnation: one row written. */
  pauseCompaction(): void {
    this.#compaction.pause()
  }

  /** Pages with ops up to the checkpoint, the newest first. */
  *pagesBefore(checkpoint: OpId): Iterable<Page> {
    const pages = this.#pages
    const last = pages.after(checkpoint)
    if (last && last.first <= checkpoint) yield last
    for (let page = pages.upTo(checkpoint); page; page = pages.upTo(page.first - 1)) yield page
  }

  *#pagesBetween(after: OpId, checkpoint: OpId): Iterable<Page> {
    for (let page = this.#pages.after(after); page && page.first <= checkpoint; page = this.#pages.after(page.last)) yield page
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

/** Ops as pages that fit. */
function* cut(texts: readonly string[]): Iterable<NewOps> {
  for (let at = 0; at < texts.length;) {
    const group: string[] = []
    let length = 0
    while (at < texts.length && (group.length === 0 || length + (texts[at]?.length ?? 0) < PAGE_LENGTH)) {
      const text = texts[at++] ?? ''
      group.push(text)
      length += text.length + 1
    }
    const checksum = group.reduce((sum, text) => addChecksums(sum, opChecksumOf(text)), 0)
    yield { first: opIdOf(group[0] ?? ''), last: opIdOf(group.at(-1) ?? ''), count: group.length, checksum, body: group.join(',') }
  }
}
