import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import type { EraseAnswer, IdleAnswer } from '../../../protocol/messages/bucket.ts'
import type { OpId } from '../../../protocol/ops.ts'
import { asyncFaultPoint } from '../../shared/fault-points.ts'
import type { Batch } from '../ingest/batch.ts'
import type { BucketRecord, Buckets } from '../store/buckets.ts'
import { MAILBOX_DAYS, MAILBOX_TABLE, today } from '../writes/mailboxes.ts'
import type { Removal, Removals } from './removals.ts'
import type { RowRef, RowStates } from '../store/row-state.ts'
import type { StateStore } from '../store/storage.ts'

const DAY_MS = 86_400_000
const ROWS_PER_STEP = 2_000
const MAILBOXES_PER_STEP = 200
const RECORDS_PER_STEP = 1_000
/** Calls of buckets at the same time, and in one session: an invocation of an object has a budget. */
const CALLS_AT_ONCE = 32
const CALLS_PER_SESSION = 2_000
/** Empty buckets whose objects wait to be erased. They are kept in memory. */
const MAX_WAITING = 20_000
/** An append may still be in flight when nobody waits for it any more. After this time none is. */
const SETTLED_MS = 3_600_000
/**
 * An object that did not answer is asked again after this time. For as long, objects of dropped definitions answer
 * `gone` before they are erased.
 */
const AGAIN_MS = DAY_MS

export interface TidyingPorts {
  /** Runs `work` in one transaction. The object is reset when its memory may differ from what was stored. */
  atomically<T>(work: () => T): T
  state: StateStore
  buckets: Buckets
  removals: Removals
  rows(): RowStates
  /** Returns the checkpoint that is announced to clients. */
  served(): OpId
  /** Returns the owners of the buckets that are maintained, mailboxes included. */
  owners(): ReadonlySet<string>
  idle(bucket: string, request: { v: number; before: OpId }): Promise<IdleAnswer>
  erase(bucket: string, request: { v: number; upTo: OpId }): Promise<EraseAnswer>
  /** Returns whether the bucket lacks ops. It stays until it answers and was compared. */
  isFenced(bucket: number): boolean
  failed(bucket: string, reason: string): void
  now?: () => number
}

/** Applies `work` between two transactions of the stream. `stored` is called in the same turn, after that is stored. */
export type Between = (work: (batch: Batch) => void, stored?: () => void) => Promise<void>

/** Progress of the round that is under way. It is in memory: after the object ends, the round begins again. */
interface Scan {
  /** Ops up to this one were made before the round. */
  counter: OpId
  /**
   * The last mailbox that was visited, then the last row, then the last bucket. Null when all mailboxes, or rows, were
   * visited.
   */
  mailbox: string | null
  row: RowRef | null
  bucket: number
  /** A bit for each bucket that has a row, or that got an op since the round began. */
  used: Uint8Array
}

/**
 * Removes what nobody uses. A round, every `UNUSED_DAYS`, lets mailboxes expire and finds empty buckets: those that
 * have no row in row state are asked. A bucket that has been empty for a whole round gets an op that makes its checksum
 * 0. From then on it looks like a bucket that was never written to, so a while later its object may be erased, and
 * clients that follow it see no difference. All of this is in the order of ops, and an object with newer ops is not
 * erased, so no change is lost. Objects of dropped definitions are erased in the same way.
 */
export class Tidying {
  readonly #ports: TidyingPorts
  readonly #now: () => number
  /** Ops up to this one were made before this object started, so the buckets that they touch are not known here. */
  readonly #started: OpId
  #scan: Scan | null = null
  #unusedDays = 0
  #calls = 0
  #callsBefore = 0

  constructor(ports: TidyingPorts) {
    this.#ports = ports
    this.#now = ports.now ?? Date.now
    this.#started = ports.state.get('decode').counter
  }

  /** A session begins. With `unusedDays` 0 empty buckets stay. */
  begin(unusedDays: number): void {
    this.#unusedDays = unusedDays
    this.#callsBefore = this.#calls
  }

  /** The session has called buckets as often as one invocation should: the next one continues. */
  get isBudgetUsed(): boolean {
    return this.#calls - this.#callsBefore >= CALLS_PER_SESSION
  }

  /** There is something to do now. */
  get pending(): boolean {
    return this.#isDue || this.#ports.removals.due(this.#now(), 1).length > 0
  }

  /** An op is being made for the bucket, so it is used. */
  touched(number: number): void {
    const { removals } = this.#ports
    if (this.#scan) mark(this.#scan.used, number)
    if (removals.recorded > 0) removals.keep(number)
  }

  /**
   * The bucket was dropped and its record is deleted, in the same transaction. Its object is erased when nobody asks
   * for it any more, unless it has ops after `upTo`.
   */
  dropped({ number, name }: BucketRecord, upTo: OpId): void {
    this.#ports.removals.keep(number)
    this.#ports.removals.add({ due: this.#after(AGAIN_MS), name, number: null, upTo })
  }

  /**
   * One step. Returns `busy` when the next one may follow at once, and `idle` when something must happen first or
   * nothing is left to do.
   */
  async step(between: Between): Promise<'busy' | 'idle'> {
    await asyncFaultPoint('tidying.step')
    const due = this.#ports.removals.due(this.#now(), CALLS_AT_ONCE)
    if (due.length > 0) return this.#erase(due)
    if (!this.#isDue) return 'idle'
    const scan = (this.#scan ??= this.#begin())
    if (scan.mailbox !== null) await this.#mailboxes(scan, scan.mailbox, between)
    // The first round only notes which ops are old for the next one.
    else if (this.#unusedDays === 0 || this.#before === 0) this.#end()
    else if (scan.row !== null) this.#rows(scan, scan.row)
    // Ops that were in flight when the round began count as well.
    else if (this.#ports.served() < scan.counter || this.#ports.removals.recorded >= MAX_WAITING) return 'idle'
    else await this.#ask(scan, between)
    return 'busy'
  }

  get #isDue(): boolean {
    const round = this.#ports.state.get('round')
    return round === null || !round.done || this.#now() >= round.at + (this.#unusedDays || MAILBOX_DAYS) * DAY_MS
  }

  get #before(): OpId {
    return this.#ports.state.get('round')?.before ?? 0
  }

  /** Returns a time after `ms`, or after `UNUSED_DAYS` if that is sooner. */
  #after(ms: number): number {
    return this.#now() + (this.#unusedDays === 0 ? ms : Math.min(ms, this.#unusedDays * DAY_MS))
  }

  #begin(): Scan {
    const { state, buckets } = this.#ports
    const last = state.get('round')
    const { counter } = state.get('decode')
    if (last === null || last.done)
      state.set('round', { at: this.#now(), counter, before: last?.counter ?? 0, done: false })
    return { counter, mailbox: '', row: { t: -1, key: '' }, bucket: 0, used: new Uint8Array((buckets.last >> 3) + 1) }
  }

  async #mailboxes(scan: Scan, after: string, between: Between): Promise<void> {
    const keys = this.#ports.rows().keys(MAILBOX_TABLE.number, after, MAILBOXES_PER_STEP)
    const day = today(this.#now())
    if (keys.length > 0)
      await between((batch) => keys.forEach((key) => batch.tidyMailbox(key, day, this.#before === 0)))
    scan.mailbox = keys.length < MAILBOXES_PER_STEP ? null : (keys.at(-1) ?? null)
  }

  #rows(scan: Scan, after: RowRef): void {
    const rows = this.#ports.rows().page(after, ROWS_PER_STEP, () => '')
    for (const { outputs } of rows) for (const { bucket } of outputs) mark(scan.used, bucket)
    scan.row = rows.length < ROWS_PER_STEP ? null : (rows.at(-1)?.ref ?? null)
  }

  /** Asks the next buckets that have no row in row state. */
  async #ask(scan: Scan, between: Between): Promise<void> {
    const { atomically, buckets, removals, idle, isFenced } = this.#ports
    const owners = this.#ports.owners()
    const page = buckets.page(scan.bucket, RECORDS_PER_STEP)
    if (page.length === 0) return this.#end()
    const isUnused = ({ number }: BucketRecord) =>
      !isMarked(scan.used, number) && !removals.has(number) && !isFenced(number)
    const asked = page.filter((each) => isUnused(each) && owners.has(each.definition)).slice(0, CALLS_AT_ONCE)
    scan.bucket = (asked.length === CALLS_AT_ONCE ? asked : page).at(-1)?.number ?? 0
    const before = this.#before
    const answers = await this.#call(asked, ({ name }) => idle(name, { v: MESSAGE_VERSION, before }))
    await asyncFaultPoint('tidying.asked')
    const empty = asked.flatMap((record, i) => {
      const answer = answers[i]
      return answer?.kind === 'empty' ? [{ record, answer }] : []
    })
    if (empty.length === 0) return
    const found: Removal[] = []
    const balance = (batch: Batch): void => {
      for (const { record, answer } of empty) {
        const { number, name } = record
        // The bucket got an op after it was asked.
        if (!isUnused(record)) continue
        if (answer.checksum !== 0) batch.balance(number, answer.checksum)
        found.push({
          due: this.#after(SETTLED_MS),
          name,
          number,
          upTo: answer.checksum === 0 ? answer.last : batch.counter,
        })
      }
    }
    // They are added after the batch is stored, because storing it touches its buckets.
    await between(balance, () => atomically(() => found.forEach((each) => removals.add(each))))
  }

  #end(): void {
    const { state } = this.#ports
    const round = state.get('round')
    this.#scan = null
    if (round) state.set('round', { ...round, done: true })
  }

  async #erase(due: readonly Removal[]): Promise<'busy' | 'idle'> {
    const { removals, buckets, atomically, served, erase, isFenced } = this.#ports
    const fenced = due.filter(({ number }) => number !== null && isFenced(number))
    // Ops of before this object started, and the op that emptied the bucket, must have been appended.
    const ready = due
      .filter((each) => !fenced.includes(each))
      .filter(({ upTo }) => Math.max(upTo, this.#started) <= served())
    const answers = await this.#call(ready, ({ name, upTo }) => erase(name, { v: MESSAGE_VERSION, upTo }))
    await asyncFaultPoint('tidying.erased')
    atomically(() => {
      for (const removal of fenced) removals.postpone(removal, this.#after(AGAIN_MS))
      for (const [i, removal] of ready.entries()) {
        // The bucket was used meanwhile, and has an object again or will have one.
        if (!removals.isCurrent(removal)) continue
        const { number, name } = removal
        const answer = answers[i]
        if (answer?.erased && number !== null) buckets.forget([{ number, name }])
        // A bucket that is used after all is found again by another round.
        if (answer?.erased || (answer && number !== null)) removals.delete(removal)
        else removals.postpone(removal, this.#after(AGAIN_MS))
      }
    })
    return ready.length > 0 ? 'busy' : 'idle'
  }

  /** Calls all of them. The answer is null for those that did not answer. */
  #call<T extends { name: string }, A>(list: readonly T[], call: (each: T) => Promise<A>): Promise<(A | null)[]> {
    this.#calls += list.length
    return Promise.all(
      list.map((each) =>
        call(each).catch((error: unknown) => {
          this.#ports.failed(each.name, error instanceof Error ? error.message : String(error))
          return null
        }),
      ),
    )
  }
}

/** Buckets that were made since the round began have an op and no bit: they count as used. */
function mark(bits: Uint8Array, number: number): void {
  const byte = bits[number >> 3]
  if (byte !== undefined) bits[number >> 3] = byte | (1 << (number & 7))
}

const isMarked = (bits: Uint8Array, number: number): boolean => ((bits[number >> 3] ?? 255) & (1 << (number & 7))) !== 0
