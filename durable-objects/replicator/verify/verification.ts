import { tableText } from '../../../protocol/tables.ts'
import { RockpoolError } from '../../../protocol/errors.ts'
import type { DigestAnswer, DigestRequest } from '../../../protocol/messages/bucket.ts'
import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import type { OpId } from '../../../protocol/ops.ts'
import type { Difference, VerifyAnswer, VerifyStatus } from '../../../protocol/verification.ts'
import { faultPoint, asyncFaultPoint } from '../../shared/fault-points.ts'
import { Listeners } from '../../shared/listeners.ts'
import type { Batch } from '../ingest/batch.ts'
import type { Buckets } from '../store/buckets.ts'
import { ownerOf, type Definitions } from '../store/definitions.ts'
import type { Diagnostics } from '../store/diagnostics.ts'
import type { Differences } from '../store/differences.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import { MAILBOX_TABLE } from '../writes/mailboxes.ts'
import type { RowStates } from '../store/row-state.ts'
import type { StateStore } from '../store/storage.ts'
import type { CopyState } from '../copy/copy-state.ts'
import type { Tables } from '../store/tables.ts'
import { BucketCheck, BucketSilent } from './bucket-check.ts'
import { mendingIn, type Work } from './mending.ts'
import { comparedSoFar, foundIn, newVerifying, progressOf, type Verifying } from './progress.ts'
import { SourceCheck, type FoundRow } from './source-check.ts'

/** Calls of buckets in one session: an invocation has a budget. */
const CALLS_PER_SESSION = 2_000
/** Steps between two looks at everything else. */
const STEPS = 50

/** One of some buckets, by number, and of no table. */
type Some = Verifying & { only: readonly number[] }

/** What came of comparing some buckets. `left`: not everything that differs was mended. */
export type Outcome = 'equal' | 'mended' | 'left' | 'silent'

export interface VerificationPorts {
  state: StateStore
  tables: Tables
  buckets: Buckets
  definitions: Definitions
  differences: Differences
  diagnostics: Diagnostics
  rows(): RowStates
  serving(): string | null
  /** A batch over another one that is never stored. */
  trial(batch: Batch): Batch
  /** Buckets that nobody asks. */
  silent(): readonly number[]
  digest(bucket: string, request: DigestRequest): Promise<DigestAnswer>
  mend(bucket: string, request: { v: number; steps: boolean }): Promise<{ more: boolean } | undefined>
}

/** What a reader needs to compare instead of copying. */
export interface Comparing {
  tables: readonly FollowedTable[]
  copyState(table: FollowedTable): CopyState
  progress(table: FollowedTable, copy: CopyState): void
  compare(batch: Batch, table: FollowedTable, key: string, found: FoundRow | null): void
  /** It is not this verification that reads tables, or none does. */
  ended(): boolean
}

/**
 * Compares source, row state and buckets on request, and mends what differs: how far it is, and what comes next. Tables first, one after the other, then
 * buckets in the order of their numbers. It is stored behind each chunk and each pass, and goes on from there in the next session or incarnation.
 */
export class Verification {
  readonly #ports: VerificationPorts
  readonly #source: SourceCheck
  readonly #buckets: BucketCheck
  /** Rows that are not stored yet as compared. */
  #rows = 0
  #callsBefore = 0
  /** The session whose steps are under way. */
  #stepping: Work | null = null
  /** See `compareBuckets`. In memory alone: what an operator has asked for stays as it is stored, and whoever needs this asks again after a crash. */
  #some: Some | null = null
  readonly #compared = new Listeners<[buckets: readonly number[], outcome: Outcome]>()

  constructor(ports: VerificationPorts) {
    this.#ports = ports
    const { state, tables, buckets, definitions, trial, digest } = ports
    // That of some buckets by an earlier version, which had it in the place of the operator's.
    if (state.get('verify')?.only) {
      ports.differences.clear()
      state.set('verify', null)
    }
    this.#source = new SourceCheck({
      trial,
      isIncomplete: (table, key) => tables.isIncomplete(table.number, key),
      bucketName: (number) => buckets.name(number),
      repair: () => this.#now?.repair ?? false,
      found: (difference) => this.#found(difference),
    })
    this.#buckets = new BucketCheck({
      rows: () => ports.rows(),
      page: (after, limit) => buckets.page(after, limit),
      wanted: (bucket) => this.#some?.only.includes(bucket) ?? !ports.silent().includes(bucket),
      owners: () => new Set(definitions.maintained.map(ownerOf)),
      nameOf: (t) => (t === MAILBOX_TABLE.number ? MAILBOX_TABLE : (tables.namesOf(t)?.[0] ?? { schema: '', name: '' })),
      counter: () => state.get('decode').counter,
      committed: () => this.#committed,
      digest,
    })
  }

  get running(): boolean {
    return this.#now?.state === 'running'
  }

  /** In the source phase: tables are to be read, see `comparing`. */
  get reads(): boolean {
    return this.running && this.#now?.phase === 'source'
  }

  /** Throws ROCKPOOL_VERIFY. */
  start(repair: boolean, by?: string): void {
    const { state, differences, serving } = this.#ports
    const before = this.#asked
    if (before?.state === 'running') {
      if (before.repair === repair) return
      const asked = before.repair ? 'with repair' : 'without repair'
      throw new RockpoolError('ROCKPOOL_VERIFY', `a verification ${asked} is under way: wait for it, or cancel it`)
    }
    if (serving() === null) throw new RockpoolError('ROCKPOOL_VERIFY', 'nothing serves yet: the first copy is not complete')
    differences.clear()
    // It begins again when this one is done.
    this.#some = null
    this.#buckets.reset()
    state.set('verify', newVerifying((before?.number ?? 0) + 1, repair, new Date().toISOString(), by))
  }

  /** Some buckets were compared, see `compareBuckets`. */
  onCompared(listener: (buckets: readonly number[], outcome: Outcome) => void): () => void {
    return this.#compared.add(listener)
  }

  /** Compares only these with row state, and mends them. To be called when none is running; `onCompared` says what came of it. */
  compareBuckets(only: readonly number[]): void {
    this.#buckets.reset()
    this.#some = { ...newVerifying(0, true, new Date().toISOString()), phase: 'buckets', only }
  }

  /** The bucket lacks ops again: whatever was found equal or mended of it says nothing, and `onCompared` says nothing. */
  lacksAgain(bucket: number): void {
    if (!this.#some?.only.includes(bucket)) return
    this.#some = null
    this.#buckets.reset()
  }

  /** Throws ROCKPOOL_VERIFY. */
  cancel(): void {
    if (this.#asked?.state !== 'running') throw new RockpoolError('ROCKPOOL_VERIFY', 'no verification is under way')
    this.#end('cancelled')
  }

  /** A session begins. */
  begin(): void {
    this.#callsBefore = this.#buckets.calls
  }

  /** It has done as much as one invocation should. */
  get spent(): boolean {
    return this.running && this.#buckets.calls - this.#callsBefore >= CALLS_PER_SESSION
  }

  /** A batch is being stored, and its rows are not yet. */
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

  /** For the reader, in the source phase: each table that is followed, one after the other. */
  comparing(tables: readonly FollowedTable[]): Comparing {
    const number = this.#now?.number
    const ended = () => !this.reads || this.#now?.number !== number
    return {
      ended,
      tables: [...tables].sort((a, b) => a.number - b.number),
      copyState: ({ number }) => comparedSoFar(this.#now, number),
      progress: ({ number }, copy) => {
        // Cancelled while it was read, and asked for anew.
        if (ended()) return
        const done = copy.state === 'done'
        this.#update((now) => ({ table: done ? number : now.table, copy: done ? null : { ...copy, number }, rows: now.rows + this.#rows }))
        this.#rows = 0
      },
      compare: (batch, table, key, found) => {
        if (found !== null) this.#rows++
        this.#source.compare(batch, table, key, found)
      },
    }
  }

  /** The reader has come to the end of all tables. */
  sourceRead(): void {
    if (this.reads) this.#update(() => ({ phase: 'buckets', copy: null }))
  }

  /** Some steps behind the tables. True: further ones may follow soon. */
  async steps(work: Work): Promise<boolean> {
    // A session that is over still waits for an answer; what it had asked for begins again here.
    if (this.#stepping !== null) this.#buckets.reset()
    this.#stepping = work
    try {
      return await this.#steps(work)
    } finally {
      if (this.#stepping === work) this.#stepping = null
    }
  }

  async #steps(work: Work): Promise<boolean> {
    const { tables } = this.#ports
    // Another one may have been asked for while a bucket was: that begins with the tables.
    for (let steps = 0; steps < STEPS && this.running && !this.reads && !work.over(); steps++) {
      const next = await this.#step(work)
      // It waited for longer than its session lived, and another one is at work.
      if (this.#stepping !== work) return false
      if (next === 'later') return false
      if (next === 'soon' || tables.hasIncomplete || tables.copying) break
      // Others have their turn.
      await work.pause(0)
    }
    return true
  }

  async #step(work: Work): Promise<'more' | 'soon' | 'later'> {
    await asyncFaultPoint('verify.step')
    if (this.#now?.phase === 'mending') return this.#finish()
    const { tables, mend } = this.#ports
    const { only } = this.#some ?? {}
    const number = this.#now?.number
    // While it waited another one may have begun.
    const overtaken = () => this.#some?.only !== only || this.#now?.number !== number
    const mending = mendingIn(work, {
      repair: this.#now?.repair ?? false,
      found: (difference) => {
        if (!overtaken()) this.#found(difference)
      },
      tableName: (t) => {
        const { schema, name } = t === MAILBOX_TABLE.number ? MAILBOX_TABLE : (tables.namesOf(t)?.[0] ?? { schema: '', name: String(t) })
        return tableText({ schema, name })
      },
      copy: (table) => tables.copy([table]),
      mend: async (bucket) => (await mend(bucket, { v: MESSAGE_VERSION, steps: true }))?.more ?? false,
    })
    try {
      const after = this.#now?.bucket ?? 0
      const done = await this.#buckets.step(after, mending)
      if (!this.running || overtaken()) return 'later'
      if (done === null) this.#update(() => ({ phase: 'mending' }))
      else if (typeof done === 'number') {
        this.#update(({ buckets }) => ({ bucket: done, buckets: buckets + this.#buckets.passed }))
      }
      return typeof done === 'string' ? done : 'more'
    } catch (error) {
      if (!(error instanceof BucketSilent)) throw error
      if (overtaken()) return 'later'
      this.#end('failed', { code: 'ROCKPOOL_BUCKET_FAILING', message: error.message })
      return 'later'
    }
  }

  /** `waitingFor`: what the replicator waits for before anything is compared. */
  status(waitingFor: string | null): VerifyStatus | null {
    const now = this.#asked
    if (!now) return null
    const { number, repair, state, phase, rows, buckets, counts, mended, started, ended, error } = now
    const { tables, buckets: records } = this.#ports
    const waits = now.state === 'running' ? (waitingFor ?? this.#waits) : null
    return {
      ...{ number, repair, state, phase, progress: progressOf(now, tables.numbers, records.last), waitingFor: waits },
      ...{ rows, buckets, counts, found: foundIn(now), mended, started, ended, error },
      ...(now.by === undefined ? {} : { by: now.by }),
    }
  }

  answer(waitingFor: string | null): VerifyAnswer {
    return { verify: this.status(waitingFor), differences: this.#ports.differences.all() }
  }

  /** The last one that an operator has asked for. */
  get #asked(): Verifying | null {
    return this.#ports.state.get('verify')
  }

  get #now(): Verifying | null {
    return this.#some ?? this.#asked
  }

  get #committed(): OpId {
    return this.#ports.state.get('commit').committed
  }

  get #waits(): string | null {
    if (this.#now?.phase === 'mending') return 'rows that are read again, and their ops'
    return this.#buckets.waitingFor
  }

  #update(change: (now: Verifying) => Partial<Verifying>): void {
    const now = this.#now
    if (now?.state !== 'running') return
    if (this.#some) this.#some = { ...this.#some, ...change(now) }
    else this.#ports.state.set('verify', { ...now, ...change(now) })
  }

  #found(difference: Difference): void {
    const { code, mended } = difference
    if (this.#some === null && !this.#ports.differences.add(difference)) return
    this.#update(({ counts, mended: before }) => ({
      counts: { ...counts, [code]: (counts[code] ?? 0) + 1 },
      mended: before + (mended ? 1 : 0),
    }))
  }

  /** When everything that it has mended is committed. */
  #finish(): 'soon' | 'later' {
    const { state, tables } = this.#ports
    if (tables.copying || tables.hasIncomplete || this.#committed < state.get('decode').counter) return 'soon'
    faultPoint('verify.done')
    this.#end('done')
    return 'later'
  }

  #end(state: 'done' | 'failed' | 'cancelled', error: Verifying['error'] = null): void {
    const some = this.#some
    this.#buckets.reset()
    this.#update(() => ({ state, error, ended: new Date().toISOString(), copy: null }))
    const now = this.#now
    this.#some = null
    if (some && now) this.#compared.tell(some.only, outcomeOf(now))
    if (!now || foundIn(now) === 0) return
    const what = some ? `a comparison of ${some.only.length} fenced buckets` : 'a verification'
    const reason = `${what} found ${foundIn(now)} differences (${Object.entries(now.counts)
      .map(([code, n]) => `${n} ${code}`)
      .join(', ')}); ${now.mended} of them are mended`
    this.#ports.diagnostics.add({ code: 'ROCKPOOL_DIFFERENCES', reason })
  }
}

function outcomeOf(now: Verifying): Outcome {
  if (now.state === 'failed') return 'silent'
  if (now.mended < foundIn(now)) return 'left'
  return now.mended > 0 ? 'mended' : 'equal'
}
