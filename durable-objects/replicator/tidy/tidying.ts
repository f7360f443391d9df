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
/** Calls of buckets at a time, and in one session: an invocation has a budget. */
const CALLS_AT_ONCE = 32
const CALLS_PER_SESSION = 2_000
/** Empty buckets whose objects wait to be erased; they are known by heart. */
const MAX_WAITING = 20_000
/** An append that nobody waits for any more may still be on its way: after so long none is. */
const SETTLED_MS = 3_600_000
/** An object that did not answer is asked again after so long. Objects of dropped definitions answer for so long that they are gone. */
const AGAIN_MS = DAY_MS

export interface TidyingPorts {
  /** One transaction; an object whose memory may differ from it is reset. */
  atomically<T>(work: () => T): T
  state: StateStore
  buckets: Buckets
  removals: Removals
  rows(): RowStates
  /** What is announced. */
  served(): OpId
  /** Those whose buckets are evaluated, and mailboxes. */
  owners(): ReadonlySet<string>
  idle(bucket: string, request: { v: number; before: OpId }): Promise<IdleAnswer>
  erase(bucket: string, request: { v: number; upTo: OpId }): Promise<EraseAnswer>
  /** It lacks ops, and is compared when it answers: until then it stays. */
  isFenced(bucket: number): boolean
  failed(bucket: string, reason: string): void
  now?: () => number
}

/** Applies something between two transactions; `stored` follows in the same turn. */
export type Between = (work: (batch: Batch) => void, stored?: () => void) => Promise<void>

/** What is known of a round that is under way; lost with the object, and then it begins again. */
interface Scan {
  /** Ops up to here were made before it. */
  counter: OpId
  /** The mailbox, then the row, then the bucket that was looked at last. */
  mailbox: string | null
  row: RowRef | null
  bucket: number
  /** A bit for each bucket that a row is in, or that got an op since. */
  used: Uint8Array
}

/**
 * Takes away what nobody uses. A round, every so many days, lets mailboxes expire and finds the buckets that no row is in: by row state first, then by asking those alone.
 * One that has been empty for a round gets an op that makes its checksum 0. From then on it looks like one that was never written to, so its object may be
 * erased a while later, and whoever follows it sees no difference. All of that is in the order of ops, and an object with newer ones is not erased: no change is lost.
 * Objects of dropped definitions are erased in the same way.
 */
export class Tidying {
  readonly #ports: TidyingPorts
  readonly #now: () => number
  /** Ops of before this object started: what they touch was not seen here. */
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

  /** A session begins. `unusedDays`: see UNUSED_DAYS; 0: empty buckets stay. */
  begin(unusedDays: number): void {
    this.#unusedDays = unusedDays
    this.#callsBefore = this.#calls
  }

  /** It has done as much as one invocation should. */
  get isBudgetUsed(): boolean {
    return this.#calls - this.#callsBefore >= CALLS_PER_SESSION
  }

  /** There is something to do now. */
  get pending(): boolean {
    return this.#isDue || this.#ports.removals.due(this.#now(), 1).length > 0
  }

  /** An op of the bucket is being made: it is used. */
  touched(number: number): void {
    const { removals } = this.#ports
    if (this.#scan) mark(this.#scan.used, number)
    if (removals.recorded > 0) removals.keep(number)
  }

  /** The record of a dropped bucket goes; its object forgets ops up to `serial`, and is erased when nobody asks for it any more. In a transaction. */
  dropped({ number, name }: BucketRecord, upTo: OpId): void {
    this.#ports.removals.keep(number)
    this.#ports.removals.add({ due: this.#after(AGAIN_MS), name, number: null, upTo })
  }

  /** One step. Returns `busy` when the next one may follow at once, and `idle` when something must happen first or nothing is left to do. */
  async step(between: Between): Promise<'busy' | 'idle'> {
    await asyncFaultPoint('tidying.step')
    const due = this.#ports.removals.due(this.#now(), CALLS_AT_ONCE)
    if (due.length > 0) return this.#erase(due)
    if (!this.#isDue) return 'idle'
    const scan = (this.#scan ??= this.#begin())
    if (scan.mailbox !== null) await this.#mailboxes(scan, scan.mailbox, between)
    // The first round only says which ops are old for the next one.
    else if (this.#unusedDays === 0 || this.#before === 0) this.#end()
    else if (scan.row !== null) this.#rows(scan, scan.row)
    // What was on its way when it began counts as well.
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

  /** Nothing waits for longer than an empty bucket does. */
  #after(ms: number): number {
    return this.#now() + (this.#unusedDays === 0 ? ms : Math.min(ms, this.#unusedDays * DAY_MS))
  }

  #begin(): Scan {
    const { state, buckets } = this.#ports
    const last = state.get('round')
    const { counter } = state.get('decode')
    if (last === null || last.done) state.set('round', { at: this.#now(), counter, before: last?.counter ?? 0, done: false })
    return { counter, mailbox: '', row: { t: -1, key: '' }, bucket: 0, used: new Uint8Array((buckets.last >> 3) + 1) }
  }

  async #mailboxes(scan: Scan, after: string, between: Between): Promise<void> {
    const keys = this.#ports.rows().keys(MAILBOX_TABLE.number, after, MAILBOXES_PER_STEP)
    const day = today(this.#now())
    if (keys.length > 0) await between((batch) => keys.forEach((key) => batch.tidyMailbox(key, day, this.#before === 0)))
    scan.mailbox = keys.length < MAILBOXES_PER_STEP ? null : (keys.at(-1) ?? null)
  }

  #rows(scan: Scan, after: RowRef): void {
    const rows = this.#ports.rows().page(after, ROWS_PER_STEP, () => '')
    for (const { outputs } of rows) for (const { bucket } of outputs) mark(scan.used, bucket)
    scan.row = rows.length < ROWS_PER_STEP ? null : (rows.at(-1)?.ref ?? null)
  }

  /** The next buckets that no row is in. */
  async #ask(scan: Scan, between: Between): Promise<void> {
    const { atomically, buckets, removals, idle, isFenced } = this.#ports
    const owners = this.#ports.owners()
    const page = buckets.page(scan.bucket, RECORDS_PER_STEP)
    if (page.length === 0) return this.#end()
    const isUnused = ({ number }: BucketRecord) => !isMarked(scan.used, number) && !removals.has(number) && !isFenced(number)
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
        // It has got an op since it was asked.
        if (!isUnused(record)) continue
        if (answer.checksum !== 0) batch.balance(number, answer.checksum)
        found.push({ due: this.#after(SETTLED_MS), name, number, upTo: answer.checksum === 0 ? answer.last : batch.counter })
      }
    }
    // Not before: storing the batch touches them.
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
    // Ops of before this object started, and the op that made it empty, must have come to their buckets.
    const ready = due.filter((each) => !fenced.includes(each)).filter(({ upTo }) => Math.max(upTo, this.#started) <= served())
    const answers = await this.#call(ready, ({ name, upTo }) => erase(name, { v: MESSAGE_VERSION, upTo }))
    await asyncFaultPoint('tidying.erased')
    atomically(() => {
      for (const removal of fenced) removals.postpone(removal, this.#after(AGAIN_MS))
      for (const [i, removal] of ready.entries()) {
        // Its bucket was used meanwhile, and has an object again or will have one.
        if (!removals.stands(removal)) continue
        const { number, name } = removal
        const answer = answers[i]
        if (answer?.erased && number !== null) buckets.forget([{ number, name }])
        // One that is of use after all is found again by another round.
        if (answer?.erased || (answer && number !== null)) removals.delete(removal)
        else removals.postpone(removal, this.#after(AGAIN_MS))
      }
    })
    return ready.length > 0 ? 'busy' : 'idle'
  }

  /** Null: it did not answer. */
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

/** Those that were made since the scan began have an op, and are not looked at. */
function mark(bits: Uint8Array, number: number): void {
  const byte = bits[number >> 3]
  if (byte !== undefined) bits[number >> 3] = byte | (1 << (number & 7))
}

const isMarked = (bits: Uint8Array, number: number): boolean => ((bits[number >> 3] ?? 255) & (1 << (number & 7))) !== 0
