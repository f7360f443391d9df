import { RockpoolError } from '../../../protocol/errors.ts'
import type { DigestAnswer, DigestRequest } from '../../../protocol/messages/bucket.ts'
import { tableText, type TableName } from '../../../protocol/tables.ts'
import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import type { OpId } from '../../../protocol/ops.ts'
import type { VerifyAnswer, VerifyStatus } from '../../../protocol/verification.ts'
import { faultPoint, asyncFaultPoint } from '../../shared/fault-points.ts'
import type { Batch } from '../ingest/batch.ts'
import type { Buckets } from '../store/buckets.ts'
import { ownerOf, type Definitions } from '../store/definitions.ts'
import type { Diagnostics } from '../store/diagnostics.ts'
import type { Differences } from '../store/differences.ts'
import { MAILBOX_TABLE } from '../writes/mailboxes.ts'
import type { RowStates } from '../store/row-state.ts'
import type { StateStore } from '../store/storage.ts'
import type { Tables } from '../store/tables.ts'
import { BucketCheck, BucketSilent, type BucketRepair } from './bucket-check.ts'
import { bucketRepair } from './bucket-repair.ts'
import { Comparisons, type Outcome } from './comparisons.ts'
import { verifyStatus, type Verifying } from './progress.ts'
import type { SessionAccess } from './session-access.ts'
import { TableCheck } from './table-check.ts'
import { TableComparison, type TableComparisonSession } from './table-comparison.ts'

/** Calls of buckets in one session: an invocation of an object has a budget. */
const CALLS_PER_SESSION = 2_000
/** Steps before the other tasks of the session have their turn. */
const STEPS = 50

export interface VerificationPorts {
  state: StateStore
  tables: Tables
  buckets: Buckets
  definitions: Definitions
  differences: Differences
  diagnostics: Diagnostics
  rows(): RowStates
  /** Returns the plan that serves, or null before the first one does. */
  serving(): string | null
  /** Returns a batch over another one that is never stored. */
  trial(batch: Batch): Batch
  /** Returns the buckets that are not compared, because they do not answer. */
  silent(): readonly number[]
  digest(bucket: string, request: DigestRequest): Promise<DigestAnswer>
  mend(bucket: string, request: { v: number; steps: boolean }): Promise<{ more: boolean } | undefined>
}

/**
 * `more`: the next step may follow at once. `soon`: rows are read or ops appended first. `later`: a bucket does not
 * answer, or nothing is left to do.
 */
type Step = 'more' | 'soon' | 'later'

/**
 * Compares source, row state and buckets on request, and repairs what differs. Tables come first, one after the other,
 * then buckets in the order of their numbers. Progress is stored after each chunk and each pass, and the next session
 * or incarnation continues from there.
 */
export class Verification {
  readonly #ports: VerificationPorts
  readonly #comparisons: Comparisons
  readonly #tables: TableCheck
  readonly #buckets: BucketCheck
  #callsBefore = 0
  /** The session whose steps are under way. */
  #stepping: SessionAccess | null = null

  constructor(ports: VerificationPorts) {
    this.#ports = ports
    const { state, tables, buckets, definitions, trial, digest } = ports
    const comparisons = new Comparisons(ports)
    this.#comparisons = comparisons
    this.#tables = new TableCheck({
      trial,
      isIncomplete: (table, key) => tables.isIncomplete(table.number, key),
      bucketName: (number) => buckets.name(number),
      repairs: () => comparisons.current?.repair ?? false,
      report: (difference) => comparisons.report(difference),
    })
    this.#buckets = new BucketCheck({
      rows: () => ports.rows(),
      page: (after, limit) => buckets.page(after, limit),
      wanted: (bucket) => comparisons.only?.includes(bucket) ?? !ports.silent().includes(bucket),
      owners: () => new Set(definitions.maintained.map(ownerOf)),
      nameOf: (t) => this.#nameOf(t) ?? { schema: '', name: '' },
      counter: () => state.get('decode').counter,
      committed: () => this.#committed,
      digest,
    })
  }

  get running(): boolean {
    return this.#comparisons.running
  }

  /** Tables are to be read next: see `tableComparison`. */
  get readsTables(): boolean {
    return this.#comparisons.readsTables
  }

  /** Throws ROCKPOOL_VERIFY when nothing serves yet, or when another one is under way. */
  start(repair: boolean, by?: string): void {
    const isRunning = this.#comparisons.requested?.state === 'running'
    if (!isRunning && this.#ports.serving() === null)
      throw new RockpoolError('ROCKPOOL_VERIFY', 'nothing serves yet: the first copy is not complete')
    if (this.#comparisons.request(repair, by) === 'begun') this.#buckets.reset()
  }

  /** Some buckets were compared: see `compareBuckets`. */
  onCompared(listener: (buckets: readonly number[], outcome: Outcome) => void): () => void {
    return this.#comparisons.onCompared(listener)
  }

  /**
   * Compares only these buckets with row state, and repairs them. To be called when nothing is being compared.
   * `onCompared` gets the outcome.
   */
  compareBuckets(only: readonly number[]): void {
    this.#buckets.reset()
    this.#comparisons.requestBuckets(only)
  }

  /** The bucket lacks ops again, so nothing that was found of it counts: its comparison ends without an outcome. */
  lacksAgain(bucket: number): void {
    if (!this.#comparisons.only?.includes(bucket)) return
    this.#comparisons.dropBuckets()
    this.#buckets.reset()
  }

  /** Throws ROCKPOOL_VERIFY when none is under way. */
  cancel(): void {
    if (this.#comparisons.requested?.state !== 'running')
      throw new RockpoolError('ROCKPOOL_VERIFY', 'no verification is under way')
    this.#end('cancelled')
  }

  /** A session begins. */
  begin(): void {
    this.#callsBefore = this.#buckets.calls
  }

  /** The session has called buckets as often as one invocation should: the next one continues. */
  get isBudgetUsed(): boolean {
    return this.running && this.#buckets.calls - this.#callsBefore >= CALLS_PER_SESSION
  }

  /** A batch is about to be stored. */
  storing({ rows }: Pick<Batch, 'rows'>): void {
    if (!this.#buckets.counts) return
    const stored = this.#ports.rows()
    for (const { table, states } of rows.values()) {
      for (const [key, state] of states) {
        const ref = { t: table.number, key }
        this.#buckets.storing(ref, () => stored.get(ref, table.name)?.outputs ?? [], state?.outputs ?? [])
      }
    }
  }

  /** Returns what has a copier compare the tables that are not compared yet. */
  tableComparison(session: TableComparisonSession): TableComparison {
    return new TableComparison({
      comparisons: this.#comparisons,
      check: this.#tables,
      tables: this.#ports.tables,
      session,
    })
  }

  /** Some steps after the tables. Returns `busy` when further ones may follow soon. */
  async steps(session: SessionAccess): Promise<'busy' | 'idle'> {
    // A session that is over may still wait for an answer. What it had asked for begins again here.
    if (this.#stepping !== null) this.#buckets.reset()
    this.#stepping = session
    try {
      return await this.#steps(session)
    } finally {
      if (this.#stepping === session) this.#stepping = null
    }
  }

  async #steps(session: SessionAccess): Promise<'busy' | 'idle'> {
    const { tables } = this.#ports
    // Another comparison may have been requested while a bucket was asked. It begins with the tables.
    for (let steps = 0; steps < STEPS && this.running && !this.readsTables && !session.isOver(); steps++) {
      const next = await this.#step(session)
      // The step waited for longer than its session lived, and another one is at work.
      if (this.#stepping !== session) return 'idle'
      if (next === 'later') return 'idle'
      if (next === 'soon' || tables.hasIncomplete || tables.copying) break
      // Others have their turn.
      await session.pause(0)
    }
    return 'busy'
  }

  async #step(session: SessionAccess): Promise<Step> {
    await asyncFaultPoint('verify.step')
    const { current, only } = this.#comparisons
    if (current?.phase === 'mending') return this.#finish()
    // While this step waits, another comparison may begin.
    const isOvertaken = () => this.#comparisons.only !== only || this.#comparisons.current?.number !== current?.number
    try {
      const repair = this.#repair(session, isOvertaken)
      const outcome = await this.#buckets.step(current?.bucket ?? 0, repair)
      if (!this.running || isOvertaken()) return 'later'
      switch (outcome.kind) {
        case 'complete':
          this.#comparisons.update(() => ({ phase: 'mending' }))
          return 'more'
        case 'passed':
          this.#comparisons.update(({ buckets }) => ({ bucket: outcome.upTo, buckets: buckets + outcome.buckets }))
          return 'more'
        default:
          return outcome.kind
      }
    } catch (error) {
      if (!(error instanceof BucketSilent)) throw error
      if (isOvertaken()) return 'later'
      this.#end('failed', { code: 'ROCKPOOL_BUCKET_FAILING', message: error.message })
      return 'later'
    }
  }

  #repair(session: SessionAccess, isOvertaken: () => boolean): BucketRepair {
    const { tables, mend } = this.#ports
    return bucketRepair(session, {
      repairs: this.#comparisons.current?.repair ?? false,
      report: (difference) => {
        if (!isOvertaken()) this.#comparisons.report(difference)
      },
      tableText: (t) => tableText(this.#nameOf(t) ?? { schema: '', name: String(t) }),
      copyAgain: (table) => tables.copy([table]),
      mendTotals: async (bucket) => ((await mend(bucket, { v: MESSAGE_VERSION, steps: true }))?.more ? 'more' : 'done'),
    })
  }

  /**
   * `waitingFor` is what the replicator waits for before anything is compared. Returns null when there never was a
   * comparison.
   */
  status(waitingFor: string | null): VerifyStatus | null {
    const { requested } = this.#comparisons
    const { tables, buckets } = this.#ports
    if (!requested) return null
    const waits = requested.state === 'running' ? (waitingFor ?? this.#waitingFor) : null
    return verifyStatus(requested, { tables: tables.numbers, lastBucket: buckets.last, waitingFor: waits })
  }

  answer(waitingFor: string | null): VerifyAnswer {
    return { verify: this.status(waitingFor), differences: this.#ports.differences.all() }
  }

  #nameOf(t: number): TableName | null {
    return t === MAILBOX_TABLE.number ? MAILBOX_TABLE : (this.#ports.tables.namesOf(t)?.[0] ?? null)
  }

  get #committed(): OpId {
    return this.#ports.state.get('commit').committed
  }

  get #waitingFor(): string | null {
    if (this.#comparisons.current?.phase === 'mending') return 'rows that are read again, and their ops'
    return this.#buckets.waitingFor
  }

  /** The comparison is done when everything that it repaired is committed. */
  #finish(): Step {
    const { state, tables } = this.#ports
    if (tables.copying || tables.hasIncomplete || this.#committed < state.get('decode').counter) return 'soon'
    faultPoint('verify.done')
    this.#end('done')
    return 'later'
  }

  #end(state: 'done' | 'failed' | 'cancelled', error: Verifying['error'] = null): void {
    this.#buckets.reset()
    this.#comparisons.end(state, error)
  }
}
