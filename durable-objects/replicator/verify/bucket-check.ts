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
import { closer, opDifferences, type Closer, type FoundContent, type OpDifference } from './bucket-differences.ts'
import { Expectation, type Expected, type ExpectedRow, type Unit } from './expectation.ts'

/** Rows of row state that are counted at a time. */
const ROWS_PER_STEP = 2_000
/** Buckets whose sums are in memory. Row state is counted once for so many. */
const BUCKETS_PER_PASS = 20_000
const RECORDS_PER_READ = 1_000
/** Buckets asked at a time, and the rows that they hold together, unless it is one: each remembers its rows, and they may share the memory of an isolate. */
const ASKED = 16
const ASKED_ROWS = 50_000
/** What a pass of closer looks may hold: rows that are listed, or the like of it in sums. */
const CLOSER_ROWS = 40_000
const CLOSER_SPLIT = 400
/** A bucket that does not answer so often, about once a second, is given up. */
const ATTEMPTS = 60

/** A bucket that does not answer: the comparison cannot be done. */
export class BucketSilent extends Error {}

export interface BucketCheckPorts {
  rows(): RowStates
  page(after: number, limit: number): (BucketRecord & { definition: string })[]
  /** Whether the bucket is to be compared. */
  wanted(bucket: number): boolean
  /** Owners of the buckets that are maintained. */
  owners(): ReadonlySet<string>
  nameOf(t: number): TableName
  /** The last op id stored, and the last one committed. */
  counter(): OpId
  committed(): OpId
  digest(bucket: string, request: DigestRequest): Promise<DigestAnswer>
}

/** What is done about what was found. */
export interface Mending {
  /** `stands`: false when the comparison has ended meanwhile. Then nobody says which of the rows got an op since. */
  rows(unit: Unit, differences: readonly OpDifference[], expected: Expected, stands: () => boolean): Promise<void>
  totals(unit: Unit, difference: Difference): Promise<void>
}

interface Asked {
  expected: Expected
  at: OpId
  sums: RowsSum[]
  rows: ReadonlyMap<string, ExpectedRow>
}

interface Answer {
  sums: RowsSum[]
  rows: Map<string, FoundContent>
  announced: BucketState
  summed: BucketState
}

/**
 * Compares row state with the buckets. Row state is counted in steps while it changes (`Expectation`); what it says of a bucket at this moment is what the
 * bucket must hold at the last op that is stored. First sums of whole buckets, then sums of parts where they differ, and rows in the end. What is in memory
 * may be lost: then the pass begins again.
 */
export class BucketCheck {
  readonly #ports: BucketCheckPorts
  /** Nobody who writes rows knows it. */
  readonly #key = crypto.randomUUID()
  /** Bucket number up to which everything is compared, when the pass is done. */
  #upTo = 0
  /** Buckets of the pass. */
  passed = 0
  #closer: Closer[] = []
  #expectation: Expectation | null = null
  #asked: Asked[] = []
  #attempts = 0
  /** Why it waits. */
  waitingFor: string | null = null
  /** Calls of buckets. */
  calls = 0

  constructor(ports: BucketCheckPorts) {
    this.#ports = ports
  }

  reset(): void {
    this.#closer = []
    this.#expectation = null
    this.#asked = []
    this.#attempts = 0
    this.waitingFor = null
  }

  get counts(): boolean {
    return this.#expectation !== null
  }

  /** A row is being stored. */
  storing(ref: RowRef, before: () => readonly Output[], now: readonly Output[]): void {
    this.#expectation?.changes(ref, before, now)
  }

  /**
   * The next step. `after`: buckets up to this number are done. Answers the number up to which they are now, null when there are no more. In the middle of
   * a pass `more`, or when to try again: `soon`, or `later` when a bucket does not answer. Throws BucketSilent.
   */
  async step(after: number, mending: Mending): Promise<number | 'more' | 'soon' | 'later' | null> {
    const expectation = (this.#expectation ??= this.#begin(after))
    if (!expectation) return null
    if (expectation.at !== null) {
      const rows = this.#ports.rows().page(expectation.at, ROWS_PER_STEP, (t) => this.#ports.nameOf(t).name)
      expectation.count(rows, rows.length === ROWS_PER_STEP)
      return 'more'
    }
    if (this.#asked.length === 0) this.#asked = this.#ask(expectation)
    if (this.#asked.length === 0) {
      this.#expectation = null
      return this.#closer.length > 0 ? 'more' : this.#upTo
    }
    const [first] = this.#asked
    this.waitingFor = first && first.at > this.#ports.committed() ? 'ops that are on their way to their buckets' : null
    if (this.waitingFor !== null) return 'soon'
    return this.#compare(expectation, mending)
  }

  #begin(after: number): Expectation | null {
    const units = this.#closer.length > 0 ? this.#nextCloser() : this.#nextBuckets(after)
    return units.length === 0 ? null : new Expectation(units, new Digester(this.#key), (t) => this.#ports.nameOf(t))
  }

  #nextBuckets(after: number): Unit[] {
    const owners = this.#ports.owners()
    const units: Unit[] = []
    this.#upTo = after
    while (units.length < BUCKETS_PER_PASS) {
      const page = this.#ports.page(this.#upTo, RECORDS_PER_READ)
      const last = page.at(-1)
      if (!last) break
      for (const { number, name, definition } of page) {
        if (!this.#ports.wanted(number) || !isMaintained(definition, owners)) continue
        units.push({ bucket: number, name, definition, part: 0, parts: 1, split: 1, list: false })
      }
      this.#upTo = last.number
    }
    this.passed = units.length
    return units
  }

  #nextCloser(): Unit[] {
    const units: Unit[] = []
    for (let held = 0; this.#closer.length > 0 && held < CLOSER_ROWS;) {
      const next = this.#closer.shift()
      if (!next) break
      units.push(next.unit)
      held += next.unit.list ? next.rows : CLOSER_SPLIT
    }
    return units
  }

  /** What row state says now, to be compared when it is committed. */
  #ask(expectation: Expectation): Asked[] {
    const at = this.#ports.counter()
    return together(expectation.all).map((expected) => {
      expected.changed.clear()
      return { expected, at, sums: expected.sums.map((sum) => ({ ...sum })), rows: new Map(expected.rows) }
    })
  }

  async #compare(expectation: Expectation, mending: Mending): Promise<'more' | 'later'> {
    const asked = this.#asked
    const answers = await Promise.allSettled(asked.map(({ expected, at }) => this.#answer(expected.unit, at)))
    // Somebody has ended it meanwhile.
    if (this.#expectation !== expectation) return 'more'
    const silent: Asked[] = []
    for (const [i, each] of asked.entries()) {
      if (this.#expectation !== expectation) return 'more'
      const settled = answers[i]
      if (settled?.status === 'fulfilled') await this.#judge(expectation, each, settled.value, mending)
      else {
        silent.push(each)
        this.waitingFor = `bucket ${each.expected.unit.name}: ${String(settled?.reason)}`
      }
    }
    if (this.#expectation !== expectation) return 'more'
    this.#asked = silent
    this.#attempts = silent.length === 0 ? 0 : this.#attempts + 1
    if (this.#attempts >= ATTEMPTS) throw new BucketSilent(this.waitingFor ?? '')
    return silent.length === 0 ? 'more' : 'later'
  }

  /** Null: compaction has gone beyond, ask again for what row state says by then. */
  async #answer({ name, part, parts, split, list }: Unit, checkpoint: OpId): Promise<Answer | null> {
    const empty = { count: 0, checksum: 0, last: 0 }
    const answer: Answer = { sums: Array.from({ length: split }, noRows), rows: new Map(), announced: empty, summed: empty }
    for (let pass = 0, passes = 1; pass < passes;) {
      await asyncFaultPoint('verify.ask')
      this.calls++
      const page = await this.#ports.digest(name, { v: MESSAGE_VERSION, checkpoint, part, parts, split, list, pass, key: this.#key })
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

  async #judge(expectation: Expectation, { expected, sums, rows }: Asked, answer: Answer | null, mending: Mending): Promise<void> {
    if (answer === null) return
    const { unit } = expected
    if (!isMaintained(unit.definition, this.#ports.owners())) return expectation.forget(expected)
    const stands = () => this.#expectation === expectation
    const { announced, summed } = answer
    if (unit.parts === 1 && (announced.checksum !== summed.checksum || announced.count !== summed.count)) {
      const reason = `it announces ${announced.count} ops with checksum ${announced.checksum}, and has ${summed.count} with ${summed.checksum}`
      await mending.totals(unit, { code: 'bucket-checksum', table: null, key: null, bucket: unit.name, reason, mended: false })
      if (!stands()) return
    }
    if (unit.list) await mending.rows(unit, opDifferences(rows, answer.rows), expected, stands)
    else this.#closer.push(...closer(unit, sums, answer.sums))
    expectation.forget(expected)
  }
}

function together(all: readonly Expected[]): Expected[] {
  let rows = 0
  const most = all.slice(0, ASKED).findIndex(({ sums }) => (rows += sums.reduce((sum, each) => sum + each.rows, 0)) > ASKED_ROWS)
  return all.slice(0, most < 0 ? ASKED : Math.max(1, most))
}

const isMaintained = (definition: string, owners: ReadonlySet<string>): boolean =>
  definition === MAILBOX_DEFINITION || owners.has(definition)
