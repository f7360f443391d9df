import { addSums, Digester, noRows, type RowsSum } from '../../../protocol/digest.ts'
import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import type { BucketState, DigestAnswer, DigestRequest } from '../../../protocol/messages/bucket.ts'
import type { OpId } from '../../../protocol/ops.ts'
import type { Difference } from '../../../protocol/verification.ts'
import type { TableName } from '../../../protocol/tables.ts'
import { asyncFaultPoint } from '../../shared/fault-points.ts'
import { MAILBOX_DEFINITION } from '../writes/mailboxes.ts'
import type { BucketRecord } from '../store/buckets.ts'
import type { Output, RowRef, RowStates } from '../store/row-state.ts'
import { drillDown, opDifferences, type DrillDown, type HeldContent, type OpDifference } from './bucket-differences.ts'
import { Expectation, type BucketRange, type Expected, type ExpectedRow } from './expectation.ts'

/** Rows of row state that are counted in one step. */
const ROWS_PER_STEP = 2_000
/** Buckets of one pass, whose sums are in memory. Each pass counts all of row state. */
const BUCKETS_PER_PASS = 20_000
const RECORDS_PER_READ = 1_000
/**
 * The most buckets that are asked at the same time, and the most rows that they hold together, unless it is a single
 * bucket: each remembers its rows, and they may share the memory of an isolate.
 */
const ASKED = 16
const ASKED_ROWS = 50_000
/**
 * Memory limit of one pass of drill-downs, in rows that are listed. The sums of a range that is split count as
 * `SPLIT_ROWS`.
 */
const DRILL_DOWN_ROWS = 40_000
const SPLIT_ROWS = 400
/** A bucket that does not answer this many times, about once a second, is given up. */
const ATTEMPTS = 60

/** A bucket does not answer, so the comparison cannot be finished. */
export class BucketSilent extends Error {}

export interface BucketCheckPorts {
  rows(): RowStates
  page(after: number, limit: number): (BucketRecord & { definition: string })[]
  /** Returns whether the bucket is to be compared. */
  wanted(bucket: number): boolean
  /** Returns the owners of the buckets that are maintained. */
  owners(): ReadonlySet<string>
  nameOf(t: number): TableName
  /** Return the last op id that is stored, and the last one that is committed. */
  counter(): OpId
  committed(): OpId
  digest(bucket: string, request: DigestRequest): Promise<DigestAnswer>
}

/** What is done about differences. */
export interface BucketRepair {
  /**
   * `isCurrent` returns false when the comparison has ended meanwhile: then it is not known which of the rows got an op
   * since.
   */
  rows(
    range: BucketRange,
    differences: readonly OpDifference[],
    expected: Expected,
    isCurrent: () => boolean,
  ): Promise<void>
  totals(range: BucketRange, difference: Difference): Promise<void>
}

/**
 * What a step came to. `passed`: all buckets up to number `upTo` are compared, of which this pass had `buckets`.
 * `complete`: no buckets are left. In the middle of a pass the next step may follow at once (`more`), when ops are
 * appended (`soon`), or when a bucket answers (`later`).
 */
export type CheckOutcome =
  { kind: 'passed'; upTo: number; buckets: number } | { kind: 'complete' | 'more' | 'soon' | 'later' }

/** A range that a bucket is asked for, and what row state said of it at op `at`. */
interface Question {
  expected: Expected
  at: OpId
  sums: RowsSum[]
  rows: ReadonlyMap<string, ExpectedRow>
}

interface Answer {
  sums: RowsSum[]
  rows: Map<string, HeldContent>
  announced: BucketState
  summed: BucketState
}

/**
 * Compares row state with the buckets. Row state is counted in steps while it changes (`Expectation`). What it says of
 * a bucket at one moment is what the bucket must hold at the last op that is stored by then. It compares sums of whole
 * buckets first, then sums of parts where those differ, and rows in the end. All of it is in memory: when that is lost,
 * the pass begins again.
 */
export class BucketCheck {
  readonly #ports: BucketCheckPorts
  /** A secret: with it somebody could write rows that differ and have the same sum. */
  readonly #key = crypto.randomUUID()
  /** All buckets up to this number are compared when the pass is done. */
  #upTo = 0
  /** The number of buckets in this pass. */
  #passBuckets = 0
  #drillDowns: DrillDown[] = []
  #expectation: Expectation | null = null
  #questions: Question[] = []
  #attempts = 0
  /** What it waits for, as text for people. */
  waitingFor: string | null = null
  /** Calls of buckets so far. */
  calls = 0

  constructor(ports: BucketCheckPorts) {
    this.#ports = ports
  }

  reset(): void {
    this.#drillDowns = []
    this.#expectation = null
    this.#questions = []
    this.#attempts = 0
    this.waitingFor = null
  }

  /** Row state is being counted, so rows that are stored must be given to `storing`. */
  get counts(): boolean {
    return this.#expectation !== null
  }

  /** A row is about to be stored. `before` and `now` are its outputs. */
  storing(ref: RowRef, before: () => readonly Output[], now: readonly Output[]): void {
    this.#expectation?.changes(ref, before, now)
  }

  /** The next step. Buckets up to number `after` are compared. Throws BucketSilent. */
  async step(after: number, repair: BucketRepair): Promise<CheckOutcome> {
    const expectation = (this.#expectation ??= this.#begin(after))
    if (!expectation) return { kind: 'complete' }
    if (expectation.at !== null) {
      const rows = this.#ports.rows().page(expectation.at, ROWS_PER_STEP, (t) => this.#ports.nameOf(t).name)
      expectation.count(rows, rows.length === ROWS_PER_STEP)
      return { kind: 'more' }
    }
    if (this.#questions.length === 0) this.#questions = this.#nextQuestions(expectation)
    if (this.#questions.length === 0) {
      this.#expectation = null
      return this.#drillDowns.length > 0
        ? { kind: 'more' }
        : { kind: 'passed', upTo: this.#upTo, buckets: this.#passBuckets }
    }
    const [first] = this.#questions
    this.waitingFor = first && first.at > this.#ports.committed() ? 'ops that are on their way to their buckets' : null
    if (this.waitingFor !== null) return { kind: 'soon' }
    return { kind: await this.#compare(expectation, repair) }
  }

  #begin(after: number): Expectation | null {
    const ranges = this.#drillDowns.length > 0 ? this.#nextDrillDowns() : this.#nextBuckets(after)
    return ranges.length === 0 ? null : new Expectation(ranges, new Digester(this.#key), (t) => this.#ports.nameOf(t))
  }

  #nextBuckets(after: number): BucketRange[] {
    const owners = this.#ports.owners()
    const ranges: BucketRange[] = []
    this.#upTo = after
    while (ranges.length < BUCKETS_PER_PASS) {
      const page = this.#ports.page(this.#upTo, RECORDS_PER_READ)
      const last = page.at(-1)
      if (!last) break
      for (const { number, name, definition } of page) {
        if (!this.#ports.wanted(number) || !isMaintained(definition, owners)) continue
        ranges.push({ bucket: number, name, definition, part: 0, parts: 1, split: 1, list: false })
      }
      this.#upTo = last.number
    }
    this.#passBuckets = ranges.length
    return ranges
  }

  #nextDrillDowns(): BucketRange[] {
    const ranges: BucketRange[] = []
    for (let held = 0; this.#drillDowns.length > 0 && held < DRILL_DOWN_ROWS;) {
      const next = this.#drillDowns.shift()
      if (!next) break
      ranges.push(next.range)
      held += next.range.list ? next.rows : SPLIT_ROWS
    }
    return ranges
  }

  /** Returns what row state says now. It is compared when its ops are committed. */
  #nextQuestions(expectation: Expectation): Question[] {
    const at = this.#ports.counter()
    return askedTogether(expectation.all).map((expected) => {
      expected.changed.clear()
      return { expected, at, sums: expected.sums.map((sum) => ({ ...sum })), rows: new Map(expected.rows) }
    })
  }

  async #compare(expectation: Expectation, repair: BucketRepair): Promise<'more' | 'later'> {
    const questions = this.#questions
    const answers = await Promise.allSettled(questions.map(({ expected, at }) => this.#answer(expected.range, at)))
    // The comparison may have been ended meanwhile.
    if (this.#expectation !== expectation) return 'more'
    const silent: Question[] = []
    for (const [i, question] of questions.entries()) {
      if (this.#expectation !== expectation) return 'more'
      const settled = answers[i]
      if (settled?.status === 'fulfilled') await this.#judge(expectation, question, settled.value, repair)
      else {
        silent.push(question)
        this.waitingFor = `bucket ${question.expected.range.name}: ${String(settled?.reason)}`
      }
    }
    if (this.#expectation !== expectation) return 'more'
    this.#questions = silent
    this.#attempts = silent.length === 0 ? 0 : this.#attempts + 1
    if (this.#attempts >= ATTEMPTS) throw new BucketSilent(this.waitingFor ?? '')
    return silent.length === 0 ? 'more' : 'later'
  }

  /**
   * Returns null when compaction has gone beyond the checkpoint: the bucket is asked again for what row state says by
   * then.
   */
  async #answer({ name, part, parts, split, list }: BucketRange, checkpoint: OpId): Promise<Answer | null> {
    const empty = { count: 0, checksum: 0, last: 0 }
    const answer: Answer = {
      sums: Array.from({ length: split }, noRows),
      rows: new Map(),
      announced: empty,
      summed: empty,
    }
    for (let pass = 0, passes = 1; pass < passes;) {
      await asyncFaultPoint('verify.ask')
      this.calls++
      const page = await this.#ports.digest(name, {
        v: MESSAGE_VERSION,
        checkpoint,
        part,
        parts,
        split,
        list,
        pass,
        key: this.#key,
      })
      if (page.kind === 'overtaken') return null
      if (page.kind === 'gone') return answer
      if (page.kind === 'more') continue
      if (!page.keyed) throw new Error('it runs code of an older version, which a deploy replaces within minutes')
      for (const [sub, sum] of page.sums.entries()) answer.sums[sub] = addSums(answer.sums[sub] ?? noRows(), sum)
      for (const { key, ...content } of page.rows) answer.rows.set(key, content)
      Object.assign(answer, { announced: page.announced, summed: page.summed })
      passes = page.passes
      pass++
    }
    return answer
  }

  async #judge(
    expectation: Expectation,
    question: Question,
    answer: Answer | null,
    repair: BucketRepair,
  ): Promise<void> {
    if (answer === null) return
    const { expected, sums, rows } = question
    const { range } = expected
    if (!isMaintained(range.definition, this.#ports.owners())) return expectation.forget(expected)
    const isCurrent = () => this.#expectation === expectation
    const { announced, summed } = answer
    if (range.parts === 1 && (announced.checksum !== summed.checksum || announced.count !== summed.count)) {
      const reason = `it announces ${announced.count} ops with checksum ${announced.checksum}, and has ${summed.count} with ${summed.checksum}`
      await repair.totals(range, {
        code: 'bucket-checksum',
        table: null,
        key: null,
        bucket: range.name,
        reason,
        mended: false,
      })
      if (!isCurrent()) return
    }
    if (range.list) await repair.rows(range, opDifferences(rows, answer.rows), expected, isCurrent)
    else this.#drillDowns.push(...drillDown(range, sums, answer.sums))
    expectation.forget(expected)
  }
}

/** Returns the first ranges that may be asked for at the same time. */
function askedTogether(all: readonly Expected[]): Expected[] {
  let rows = 0
  const most = all
    .slice(0, ASKED)
    .findIndex(({ sums }) => (rows += sums.reduce((sum, each) => sum + each.rows, 0)) > ASKED_ROWS)
  return all.slice(0, most < 0 ? ASKED : Math.max(1, most))
}

const isMaintained = (definition: string, owners: ReadonlySet<string>): boolean =>
  definition === MAILBOX_DEFINITION || owners.has(definition)
