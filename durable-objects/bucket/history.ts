import type { OpId } from '../../protocol/ops.ts'
import type { LogLimits } from './limits.ts'
import { eachRow, moveText, opAt, opIdAt } from '../../protocol/op-text.ts'
import type { Page, Pages } from './storage.ts'
import { isUnique } from './unique.ts'

/** About what an entry of a map takes in addition to its key. */
const ENTRY = 64
/**
 * Units of `LogLimits.historyLength` that a row takes while rows are only checked for duplicates: a number, and a copy
 * of it while the set grows.
 */
const UNIQUE_ENTRY = 16

/** The newest op of a row at a checkpoint. */
type NewestOf = (key: string) => OpId | undefined

/**
 * The newest ops in (from, to], and, because readers are at different checkpoints, the newest ones at each checkpoint
 * from `base` on: `before` has the earlier ops of rows that have another one since, in order. `whole`: every row with
 * an op there is included. `twice`: some row has more than one.
 */
interface Remembered {
  from: OpId
  base: OpId
  to: OpId
  newest: Map<string, OpId>
  before: Map<string, OpId[]>
  length: number
  /** The highest `target` of the pages that were read: see `Page`. */
  target: OpId
  whole: boolean
  twice: boolean
}

/** What all logs of an isolate may remember together, in units of `LogLimits.historyLength`: they share its memory. */
const ISOLATE_LENGTH = 24 * 1024 * 1024

/** Where a log keeps what it remembers, so that `Shared` can take it away. */
interface Slot {
  remembered: Remembered | null
}

/** The holders of something, in the order in which it was stored. */
const slots = new Set<Slot>()

function keep(slot: Slot, remembered: Remembered | null): void {
  slot.remembered = remembered
  slots.delete(slot)
  if (remembered) slots.add(slot)
  let length = [...slots].reduce((sum, each) => sum + (each.remembered?.length ?? 0), 0)
  for (const each of slots) {
    if (length <= ISOLATE_LENGTH || each === slot) return
    length -= each.remembered?.length ?? 0
    each.remembered = null
    slots.delete(each)
  }
}

/** A page, or the part of its ops that is read. */
export type Part = Pick<Page, 'body' | 'count' | 'last'>

/**
 * Makes sure that the previous content of a changed, moved or deleted row is sent to nobody. An op that another one up
 * to the reader's checkpoint supersedes is sent as a MOVE, which counts and adds to the checksums as the op does. This
 * does not depend on the position that a client claims, because it may claim any.
 *
 * No op up to `clean` is superseded by another one up to there: a compaction has made sure of that, or a complete read
 * has found none. So only newer ops can supersede, and only their rows are remembered from one read of a download to
 * the next. This is only in memory, and may be lost at any time.
 */
export class History {
  readonly #pages: Pages
  readonly #limits: LogLimits
  readonly #slot: Slot = { remembered: null }
  #clean: OpId = 0
  /** How far a download from 0 has come at this checkpoint without finding a superseded op. */
  #proof: { checkpoint: OpId; upTo: OpId } | null = null
  /** An op up to which some row has more than one op; 0 when no such row is known. */
  #twice: OpId = 0

  constructor(pages: Pages, limits: LogLimits) {
    this.#pages = pages
    this.#limits = limits
  }

  get clean(): OpId {
    return Math.max(this.#clean, this.#pages.history.clean)
  }

  /** Called when the log was replaced. */
  forget(): void {
    keep(this.#slot, null)
    this.#clean = 0
    this.#proof = null
    this.#twice = 0
  }

  /**
   * `parts` are those of a read of (after, asked]; with `all` there are no more. Returns the bodies as they are to be
   * sent, and whether anything was superseded, or null when compaction has removed the superseding ops, so that the
   * checkpoint is overtaken.
   */
  collapse(
    parts: readonly Part[],
    after: OpId,
    asked: OpId,
    all: boolean,
  ): { bodies: string[]; found: boolean } | null {
    const bodies = parts.map(({ body }) => body)
    const checkpoint = Math.min(asked, this.#pages.head.last)
    const from = Math.max(after, this.clean)
    if (checkpoint <= from) return { bodies, found: false }
    const newest = all ? inParts(parts, from) : this.#rememberedFor(from, checkpoint)
    if (newest === 'overtaken') return null
    if (newest === null) return { bodies, found: false }
    const collapsed = bodies.map((body) => withMoves(body, newest))
    const found = collapsed.some((body, i) => body !== bodies[i])
    this.#prove(after, checkpoint, all ? checkpoint : (parts.at(-1)?.last ?? after), found)
    return { bodies: collapsed, found }
  }

  /** Returns null when everything up to there is clean. */
  #rememberedFor(from: OpId, to: OpId): NewestOf | null | 'overtaken' {
    const known = this.#slot.remembered
    if (known && known.from <= from && Math.max(known.base, known.target) <= to && to <= known.to)
      return newestAt(known, to)
    if (from === 0 && this.#isClean(to)) return null
    const goesOn = known?.whole === true && known.from <= from && from < known.to && known.to < to
    const now = (goesOn ? this.#extended(known, to) : null) ?? this.#read(from, to)
    if (now.target > to) return 'overtaken'
    keep(this.#slot, now)
    if (from > 0 || !now.whole || now.twice) return newestAt(now, to)
    this.#cleanTo(to)
    return null
  }

  /** Returns true, and keeps the fact, when no op up to there is superseded by another up to there. */
  #isClean(to: OpId): boolean {
    if (this.#twice !== 0 && this.#twice <= to) return false
    let target = 0
    const pages = function* (all: Iterable<Page>): Iterable<Page> {
      for (const page of all) {
        target = Math.max(target, page.target)
        yield page
      }
    }
    const clean =
      isUnique(pages(this.#pages.downFrom(to)), to, this.#limits.historyLength / UNIQUE_ENTRY) && target <= to
    if (clean) this.#cleanTo(to)
    else this.#twice = to
    return clean
  }

  /** Returns null when it would take too much memory. */
  #extended(known: Remembered, to: OpId): Remembered | null {
    for (let page = this.#pages.after(known.to); page && page.first <= to; page = this.#pages.after(page.last))
      if (!this.#remember(known, page, known.to, to)) return null
    return { ...known, to }
  }

  /** Reads from the newest page to the oldest. */
  #read(from: OpId, to: OpId): Remembered {
    const all: Remembered = {
      from,
      base: to,
      to,
      newest: new Map(),
      before: new Map(),
      length: 0,
      target: 0,
      whole: true,
      twice: false,
    }
    for (const page of this.#pages.downFrom(to)) {
      if (page.last <= from) break
      if (!this.#remember(all, page, from, to)) return { ...all, whole: false }
    }
    return all
  }

  /** Returns false when it would take too much memory. */
  #remember(all: Remembered, { body, target }: Page, from: OpId, to: OpId): boolean {
    all.target = Math.max(all.target, target)
    eachRow(body, (key, at) => {
      const id = opIdAt(body, at)
      if (id <= from || id > to) return true
      const known = all.newest.get(key)
      if (known === undefined) {
        all.length += key.length + ENTRY
        if (all.length > this.#limits.historyLength) return false
        // A copy: a slice would keep its whole page in memory.
        all.newest.set(Buffer.from(key).toString(), id)
        return true
      }
      all.twice = true
      if (known > id) return true
      if (id > all.base) {
        const before = all.before.get(key)
        if (before) before.push(known)
        else all.before.set(Buffer.from(key).toString(), [known])
        all.length += ENTRY
      }
      all.newest.set(key, id)
      return true
    })
    return all.length <= this.#limits.historyLength
  }

  /** Notes how far a download from 0 has found nothing superseded, so that this need not be checked again. */
  #prove(after: OpId, checkpoint: OpId, upTo: OpId, found: boolean): void {
    const proven = after === 0 ? 0 : this.#proof?.checkpoint === checkpoint ? this.#proof.upTo : -1
    if (after > proven) return
    const unknown = upTo < checkpoint && this.#slot.remembered?.whole !== true
    this.#proof = found || unknown ? null : { checkpoint, upTo: Math.max(upTo, proven) }
    if (this.#proof === null || upTo < checkpoint) return
    this.#cleanTo(checkpoint)
  }

  #cleanTo(op: OpId): void {
    this.forget()
    this.#clean = op
  }
}

/** Returns whether one op of a page supersedes another. */
export const hidesOps = (page: Page): boolean => withMoves(page.body, inParts([page], 0)) !== page.body

function newestAt({ newest, before }: Remembered, checkpoint: OpId): NewestOf {
  return (key) => {
    const id = newest.get(key)
    return id === undefined || id <= checkpoint ? id : before.get(key)?.findLast((each) => each <= checkpoint)
  }
}

function inParts(parts: readonly Part[], from: OpId): NewestOf {
  const newest = new Map<string, OpId>()
  for (const { body, last } of parts) {
    if (last <= from) continue
    eachRow(body, (key, at) => {
      const id = opIdAt(body, at)
      if (id > from) newest.set(key, id)
      return true
    })
  }
  return (key) => newest.get(key)
}

/** Replaces each op that has a newer one of the same row by a MOVE. */
function withMoves(body: string, newestOf: NewestOf): string {
  const pieces: string[] = []
  let from = 0
  eachRow(body, (key, at) => {
    const newer = newestOf(key)
    if (newer === undefined || newer <= opIdAt(body, at)) return true
    const text = opAt(body, at)
    pieces.push(body.slice(from, at), moveText(text))
    from = at + text.length
    return true
  })
  return pieces.length === 0 ? body : [...pieces, body.slice(from)].join('')
}
