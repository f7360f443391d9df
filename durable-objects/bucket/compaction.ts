import { addChecksums } from '../../protocol/checksum.ts'
import type { OpId } from '../../protocol/ops.ts'
import { clearText, isFoldable, moveText, opChecksumOf, opIdOf, rowKeyOf, splitOps } from '../../protocol/op-text.ts'
import type { LogLimits } from './limits.ts'
import type { Header, Page, Pages, Progress } from './storage.ts'

interface Rewritten {
  page: Page
  texts: string[]
  bytes: number
  target: OpId
  changed: boolean
}

/**
 * Compaction of a log, in steps that are a transaction each. A run goes from the newest committed page to the oldest.
 * The first op that it meets of a row is the newest, and every further one becomes a MOVE; small neighbouring pages
 * become one page. Then the MOVEs and REMOVEs at the very start become one CLEAR.
 *
 * The number of rows that are remembered is limited. Where there are more, the run finishes its pass with those that it
 * has and begins another pass after
 * them: all older ops of the first rows are MOVEs by then, so each pass meets other rows. So memory and the work of a
 * step are bounded, whatever the size of the log. The remembered rows are lost with the object. The pass is then
 * repeated, and finds nothing to rewrite up to where it had come. So a run misses nothing: when it has ended, no op up
 * to its limit is superseded by another, and that is stored (`HistoryMark.clean`).
 */
export class Compaction {
  readonly #pages: Pages
  readonly #limits: LogLimits
  readonly #now: () => number
  /** Maps each row to the newest of its ops that was met. Stays true for as long as the log exists. */
  readonly #newest = new Map<string, OpId>()
  #keysLength = 0
  #progress: Progress | null = null

  constructor(pages: Pages, limits: LogLimits, now: () => number) {
    this.#pages = pages
    this.#limits = limits
    this.#now = now
  }

  get worthwhile(): boolean {
    const { head, header, history } = this.#pages
    if (this.#progress !== null || header.progress !== null) return true
    if (history.since !== null && this.#now() >= history.since + this.#limits.historyMs) return true
    return head.totalBytes - header.doneBytes >= Math.max(this.#limits.afterBytes, header.keptBytes / 2)
  }

  /** Does one step. Returns the UTF-16 units that it read, or null when the run has ended. */
  step(committed: OpId): number | null {
    const progress = (this.#progress ??= this.#resumed() ?? this.#begin(committed))
    if (!progress) return null
    try {
      return (
        this.#walk(progress) ??
        (this.#nextPass(progress) ? this.#walk(progress) : null) ??
        this.#fold(progress) ??
        this.#finish(progress)
      )
    } catch (error) {
      // The transaction failed, so memory may differ from storage.
      this.#pages.forget()
      this.forget()
      throw error
    }
  }

  pause(): void {
    const { header } = this.#pages
    if (this.#progress && JSON.stringify(this.#progress) !== JSON.stringify(header.progress))
      this.#pages.saveHeader({ ...header, progress: { ...this.#progress } })
  }

  forget(): void {
    this.#progress = null
    this.#newest.clear()
    this.#keysLength = 0
  }

  #begin(committed: OpId): Progress | null {
    const start = this.#startAt(committed)
    if (start)
      return {
        limit: committed,
        from: committed,
        cursor: start.last,
        next: null,
        totalBytes: start.totalBytes,
        sure: committed,
      }
    if (this.#pages.history.since !== null) this.#marked(0)
    return null
  }

  /** Begins the pass again: what an earlier incarnation of the object remembered is lost. */
  #resumed(): Progress | null {
    const { progress } = this.#pages.header
    return progress && { ...progress, cursor: this.#startAt(progress.from)?.last ?? 0, next: null }
  }

  /** Returns the page that holds the op, or else the one before. */
  #startAt(op: OpId): Page | null {
    const page = this.#pages.after(op - 1)
    return page && page.first <= op ? page : this.#pages.upTo(op)
  }

  /** Processes the pages that become one. Returns null when the pass has ended. */
  #walk(progress: Progress): number | null {
    const group: Rewritten[] = []
    let bytes = 0
    let length = 0
    let page = this.#pages.upTo(progress.cursor)
    for (; page && group.length < this.#limits.pages; page = this.#pages.upTo(page.first - 1)) {
      const rewritten = this.#supersede(page, progress)
      length += page.body.length
      // The next step meets this page again. That is safe: no remembered op of its rows is newer than its own.
      if (group.length > 0 && bytes + rewritten.bytes > this.#limits.pageBytes) break
      bytes += rewritten.bytes
      group.push(rewritten)
    }
    const [newest, oldest] = [group[0], group.at(-1)]
    if (!newest || !oldest) return null
    progress.cursor = oldest.page.first - 1
    if (group.length > 1 || newest.changed) this.#store(group, newest.page, oldest.page, progress)
    return length
  }

  /** Visits the ops of a page from the newest to the oldest. An op of a row that was met before becomes a MOVE. */
  #supersede(page: Page, progress: Progress): Rewritten {
    const texts = splitOps(page.body)
    let { target } = page
    let changed = false
    // Up to `clean` no op supersedes another, so a log that is mostly clean needs only one pass.
    const { clean } = this.#pages.history
    for (let i = texts.length - 1; i >= 0; i--) {
      const text = texts[i] ?? ''
      const id = opIdOf(text)
      const key = id > progress.from ? null : rowKeyOf(text)
      if (key === null) continue
      const newest = this.#newest.get(key)
      if (newest !== undefined && newest > id) {
        texts[i] = moveText(text)
        target = Math.max(target, newest)
        changed = true
      } else if (newest === undefined && id > clean && !this.#remember(key, id)) progress.next ??= id
    }
    if (!changed) return { page, texts, bytes: page.bytes, target, changed }
    return { page, texts, bytes: Buffer.byteLength(texts.join(',')), target, changed }
  }

  #remember(key: string, id: OpId): boolean {
    if (this.#newest.size >= this.#limits.keys || this.#keysLength + key.length > this.#limits.keysLength) return false
    // A copy: a slice would keep its whole page in memory.
    this.#newest.set(Buffer.from(key).toString(), id)
    this.#keysLength += key.length
    return true
  }

  /**
   * Begins a pass. Returns false when all rows were remembered. The first page is processed in the same step, because
   * the next append may make it longer.
   */
  #nextPass(progress: Progress): boolean {
    if (progress.next === null) return false
    this.#newest.clear()
    this.#keysLength = 0
    if (progress.sure === progress.from) progress.sure = progress.next
    progress.from = progress.next
    progress.next = null
    progress.cursor = this.#startAt(progress.from)?.last ?? 0
    return true
  }

  /**
   * Folds the start of the log up to the first PUT, as far as one step goes. Returns null when there is nothing to
   * fold.
   */
  #fold(progress: Progress): number | null {
    const folded: Page[] = []
    let [ops, bytes, length, checksum, target, last] = [0, 0, 0, 0, 0, 0]
    let rest: string[] = []
    for (
      let page = this.#pages.after(0);
      page && folded.length < this.#limits.pages;
      page = this.#pages.after(page.last)
    ) {
      if (page.first > progress.limit) break
      const texts = splitOps(page.body)
      const live = texts.findIndex((text) => !isFoldable(text) || opIdOf(text) > progress.limit)
      const run = live < 0 ? texts : texts.slice(0, live)
      if (run.length === 0) break
      folded.push(page)
      ops += run.length
      bytes += page.bytes
      length += page.body.length
      checksum = run.reduce((sum, text) => addChecksums(sum, opChecksumOf(text)), checksum)
      last = opIdOf(run.at(-1) ?? '')
      target = Math.max(target, page.target, last)
      rest = live < 0 ? [] : texts.slice(live)
      if (live >= 0 || bytes > this.#limits.pageBytes) break
    }
    const [oldest, newest] = [folded[0], folded.at(-1)]
    if (!oldest || !newest || ops < 2) return null
    const body = [clearText(last, checksum), ...rest].join(',')
    const size = Buffer.byteLength(body)
    const sum = rest.reduce((total, text) => addChecksums(total, opChecksumOf(text)), checksum)
    const { header } = this.#pages
    const removed = { removedOps: header.removedOps + ops - 1, removedBytes: header.removedBytes + bytes - size }
    this.#pages.db.transaction(() => {
      this.#pages.replace(oldest, newest, {
        first: oldest.first,
        count: 1 + rest.length,
        checksum: sum,
        target,
        bytes: size,
        body,
      })
      this.#saveHeader({ ...removed, target: Math.max(header.target, target), progress: { ...progress } })
    })
    return length
  }

  #finish(progress: Progress): null {
    const { header, head } = this.#pages
    this.forget()
    this.#pages.db.transaction(() => {
      this.#saveHeader({
        doneBytes: progress.totalBytes,
        keptBytes: head.totalBytes - header.removedBytes,
        progress: null,
      })
      this.#marked(progress.sure === progress.from ? progress.limit : 0)
    })
    return null
  }

  /** Counts the ops above the limit, if there are any, as if they had come now. */
  #marked(clean: OpId): void {
    const { head, history } = this.#pages
    const reached = Math.max(history.clean, Math.min(clean, head.last))
    const since = head.last > reached ? this.#now() : null
    if (reached !== history.clean || since !== history.since) this.#pages.saveHistory({ clean: reached, since })
  }

  #store(group: readonly Rewritten[], newest: Page, oldest: Page, progress: Progress): void {
    const parts = [...group].reverse()
    const body = parts.map((part) => (part.changed ? part.texts.join(',') : part.page.body)).join(',')
    const bytes = Buffer.byteLength(body)
    const before = parts.reduce((sum, part) => sum + part.page.bytes, 0)
    const { header } = this.#pages
    const page = {
      first: oldest.first,
      count: parts.reduce((sum, part) => sum + part.page.count, 0),
      checksum: parts.reduce((sum, part) => addChecksums(sum, part.page.checksum), 0),
      target: Math.max(...parts.map((part) => part.target)),
      bytes,
      body,
    }
    this.#pages.db.transaction(() => {
      this.#pages.replace(oldest, newest, page)
      const target = Math.max(header.target, page.target)
      this.#saveHeader({ removedBytes: header.removedBytes + before - bytes, target, progress: { ...progress } })
    })
  }

  #saveHeader(changed: Partial<Header>): void {
    this.#pages.saveHeader({ ...this.#pages.header, ...changed })
  }
}
