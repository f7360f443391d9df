import type { BucketState } from '../../../protocol/messages/bucket.ts'
import type { NoticeBucket } from '../../../protocol/messages/relay.ts'
import type { ComparingStatus, ReplicatorStatus } from '../../../protocol/messages/status.ts'
import type { Clock } from '../../shared/clock.ts'
import { faultPoint } from '../../shared/fault-points.ts'
import { Listeners } from '../../shared/listeners.ts'
import type { Batch } from '../ingest/batch.ts'
import { FENCE_SECONDS, SLICE_LENGTH } from '../limits.ts'
import { servedOf } from '../store/served.ts'
import type { StoredAppend, StoredBatch } from '../store/outbox.ts'
import type { Decode, State } from '../store/storage.ts'
import type { Store } from '../store/store.ts'
import type { Sending } from './dispatcher.ts'
import type { Fencing } from './fencing.ts'
import { Fraction } from './fraction.ts'
import { afterCommit, compared, held, isComparing, tellingOf } from './hold.ts'
import { hashedFrames, noticeFrames } from './notice.ts'
import { Pipeline, type PipelineLimits } from './pipeline.ts'
import type { RelaySockets } from './relay-sockets.ts'
import type { Watchers } from './watchers.ts'

/** The largest last notice that is stored, in UTF-16 units. Without it, a relay that reconnects gets a gap. */
const KEPT_NOTICE_LENGTH = 500_000

export interface CommitterPorts {
  store: Store
  relays: Pick<RelaySockets, 'notice' | 'gap' | 'fence' | 'keepAllOpen'>
  watchers: Pick<Watchers, 'notifiedTo' | 'committed' | 'publishAll' | 'resume'>
  fencing: Pick<Fencing, 'begin' | 'onChange' | 'probeAll'>
  clock: Clock
  /** Repeats the append until the bucket answers. Returns null when it is no longer wanted. */
  append(bucket: string, append: StoredAppend, sending: Sending): Promise<BucketState | null>
  /** Resolves when everything that was written so far is durable. Rejects when that takes too long. */
  durable(): Promise<void>
}

/** A batch as it is stored. */
export type ToStore = Pick<Batch, 'start' | 'counter' | 'changes' | 'rows' | 'appends'>

/** A batch to store, with the place in the stream after it. */
export type ToCommit = Pick<Decode, 'position' | 'partial'> & {
  batch: ToStore
  incomplete: ReadonlyMap<string, { table: { number: number }; key: string; pending: boolean }>
}

/** See the settings of these names. */
export interface InFlight {
  batchesInFlight: number
  appendsInFlight: number
  fenceSeconds: number
}

/** Lower limits for the simulation, so that it reaches everything with little data. */
export interface CommitterLimits {
  pipeline?: PipelineLimits
  /** The length of a part of a notice, in UTF-16 units. */
  noticePart?: number
}

/**
 * Turns batches into checkpoints: I1, I2 and I6. A batch is stored, its ops are appended to their buckets, and when all
 * buckets have answered it is committed and announced. The announced checkpoint stands still while rows are compared
 * (0011). Pure but for its ports; the simulation runs this class.
 *
 * The file is long because storing, committing, holding and announcing change one value, `commit`, and I1, I2 and I6
 * rest on their order, so they are read together.
 */
export class Committer {
  readonly #ports: CommitterPorts
  readonly #store: Store
  readonly #limits: CommitterLimits
  readonly #pipeline: Pipeline
  readonly #roomy = new Listeners()
  readonly #storing = new Listeners<[batch: ToStore]>()
  /** Announces progress by a gap at the held checkpoint, which causes no requests. */
  readonly #fraction: Fraction
  /** The append in flight to each bucket. It is no longer `wanted` when it was dropped. */
  readonly #sending = new Map<number, { wanted: boolean }>()
  /** The most batches, and appends, that may wait for answers of their buckets. */
  #batchesInFlight = 1
  #appendsInFlight = 1
  /** Milliseconds without an answer after which a bucket is fenced. */
  #fenceMs = FENCE_SECONDS * 1_000
  /** Row changes and batches that were stored since this object started. */
  readonly #stored = { changes: 0, batches: 0 }
  /** Sends notices in commit order, each once its commit is durable. */
  #notices: Promise<void> = Promise.resolve()

  constructor(ports: CommitterPorts, limits: CommitterLimits = {}) {
    this.#ports = ports
    this.#limits = limits
    const store = (this.#store = ports.store)
    this.#pipeline = new Pipeline(
      {
        name: (bucket) => store.buckets.name(bucket),
        read: (id) => store.outbox.read(id),
        skips: (bucket) => store.fences.isSilent(bucket),
        send: (append) => void this.#send(append).catch((error: unknown) => store.reset(error)),
      },
      limits.pipeline,
    )
    this.#fraction = new Fraction(
      () => store.compared,
      () => this.#tellGap(),
      ports.clock,
    )
    ports.fencing.onChange(() => this.#tellFences())
  }

  /**
   * Continues after a start with what is in storage. The outbox has the exact ops with their ids, and buckets ignore
   * ops that they have.
   */
  recover(): void {
    const { relays, watchers, fencing } = this.#ports
    const { state, outbox } = this.#store
    const newest = outbox.newest()
    if (newest) this.#pipeline.recover(state.get('commit').batch, newest, newest.answered)
    this.#commit()
    relays.keepAllOpen()
    watchers.resume(state.get('commit'))
    fencing.probeAll()
  }

  limit({ batchesInFlight, appendsInFlight, fenceSeconds }: InFlight): void {
    this.#batchesInFlight = batchesInFlight
    this.#appendsInFlight = appendsInFlight
    this.#fenceMs = fenceSeconds * 1_000
  }

  /**
   * Returns true when another batch may be stored. While calls to buckets wait for their turn, transactions gather
   * instead, because fewer and larger appends make many buckets fast. At most about two full slices are in flight: more
   * would exhaust memory.
   */
  get room(): boolean {
    const { unanswered, appends, length } = this.#pipeline
    return unanswered < this.#batchesInFlight && appends < this.#appendsInFlight && length < SLICE_LENGTH
  }

  /** Subscribes to a call when there may be room again. Returns the function that unsubscribes. */
  onRoom(listener: () => void): () => void {
    return this.#roomy.add(listener)
  }

  /**
   * Subscribes to the storing of batches. The listener is called in the batch's transaction, before its rows are
   * stored.
   */
  onStoring(listener: (batch: ToStore) => void): () => void {
    return this.#storing.add(listener)
  }

  /** True when everything that is stored is committed. */
  get isIdle(): boolean {
    return this.#pipeline.size === 0
  }

  /** Stores a batch in ONE storage transaction, and then sends its ops. */
  store(flush: ToCommit): void {
    this.#storeBatch(flush, null)
  }

  /**
   * Stores a batch without ops after which the plan serves. To be called between two transactions of the source.
   * `switched` is called in the storage transaction.
   */
  switchTo(plan: string, switched: () => void): void {
    const { counter, position } = this.#store.state.get('decode')
    const batch: ToStore = { start: counter, counter: counter + 1, changes: 0, rows: new Map(), appends: new Map() }
    this.#storeBatch({ batch, position, partial: null, incomplete: new Map() }, { plan, switched })
  }

  #storeBatch(
    { batch, position, partial, incomplete }: ToCommit,
    to: { plan: string; switched: () => void } | null,
  ): void {
    faultPoint('batch.store')
    const { state, rows, buckets, tables, outbox, fences } = this.#store
    const stored = this.#store.atomically(() => {
      // I1: no op id is used twice.
      if (batch.start !== state.get('decode').counter) throw new Error('a batch was overtaken by another one')
      this.#storing.tell(batch)
      rows.put(batch.rows.values())
      faultPoint('batch.rows')
      buckets.save()
      for (const { table, key, pending } of incomplete.values()) tables.setIncomplete(table.number, key, pending)
      const decode = { counter: batch.counter, position, partial }
      const plan = to ? to.plan : this.#store.planStored
      const final = partial === null && (isComparing(state.get('commit')) || !this.#store.lacks(plan))
      // There is nothing to announce, and no slice waits for its last one: only the position is stored.
      if (batch.appends.size === 0 && to === null && !this.#pipeline.openGroup) {
        state.set('decode', decode)
        return null
      }
      to?.switched()
      const appends = fences.sendable(batch.appends)
      const answered = this.#pipeline.answeredUpTo
      const added = outbox.add({ last: batch.counter, final, plan, appends, decode: state.advance(decode), answered })
      faultPoint('batch.outbox')
      return added
    })
    this.#stored.changes += batch.changes
    this.#stored.batches++
    if (stored) this.#store.orReset(() => this.#dispatch(stored))
  }

  #dispatch(batch: StoredBatch): void {
    faultPoint('batch.stored')
    this.#pipeline.dispatch(batch)
    if (batch.appends.length === 0) this.#commit()
  }

  async #send(append: StoredAppend): Promise<void> {
    const { bucket } = append
    const { fences, buckets } = this.#store
    const sending = { wanted: true }
    this.#sending.set(bucket, sending)
    const state = await this.#ports.append(buckets.name(bucket), append, {
      // Compaction changes nothing above it, so every bucket can answer for a held checkpoint.
      committed: () => fences.of(bucket)?.served ?? this.#store.serving.checkpoint,
      wanted: () => sending.wanted,
      unanswered: (milliseconds) => {
        if (sending.wanted && fences.isDue(bucket, milliseconds, this.#fenceMs)) this.#fence(append)
      },
    })
    if (state === null || !sending.wanted) return
    this.#sending.delete(bucket)
    faultPoint('append.answered')
    this.#pipeline.answered(bucket, state)
    this.#commit()
    this.#roomy.tell()
  }

  /** Drops everything in flight to the bucket of this append, so that commits continue without it. */
  #fence(append: StoredAppend): void {
    this.#ports.fencing.begin(append, this.#fenceMs)
    const sending = this.#sending.get(append.bucket)
    if (sending) sending.wanted = false
    this.#sending.delete(append.bucket)
    this.#pipeline.drop(append.bucket)
    this.#commit()
    this.#roomy.tell()
  }

  #tellFences(): void {
    const { relays, watchers } = this.#ports
    this.#onceDurable(() => {
      if (this.#store.fences.all.length > 0) relays.fence()
      relays.notice([relays.gap()], () => [relays.gap()])
      watchers.publishAll()
    })
  }

  #commit(): void {
    const { state, outbox, fences } = this.#store
    const before = state.get('commit')
    const commit = this.#pipeline.commit(before.committed)
    if (!commit) return
    faultPoint('commit.begin')
    const frames = noticeFrames(commit, this.#store.fencedNames, this.#limits.noticePart)
    const length = frames.reduce((sum, frame) => sum + frame.length, 0)
    const kept = commit.buckets !== null && length <= KEPT_NOTICE_LENGTH && fences.all.length === 0
    const named = kept ? { previous: commit.previous, parts: frames } : null
    const published = this.#ports.watchers.notifiedTo
    const after = afterCommit(before, {
      committed: commit.checkpoint,
      plan: commit.plan,
      named,
      batch: commit.upTo,
      published,
    })
    this.#store.atomically(() => {
      state.set('commit', after)
      faultPoint('commit.state')
      outbox.drop(commit.upTo)
      faultPoint('commit.drop')
    })
    faultPoint('commit.stored')
    this.#announce(before, after, frames, () => hashedFrames(commit), commit.buckets)
  }

  /** Announces what is served now to relays and followed buckets, once it is durable. */
  #announce(
    before: State['commit'],
    after: State['commit'],
    notice: readonly string[],
    hashed: () => string[],
    buckets: readonly NoticeBucket[] | null,
  ): void {
    const { relays, watchers } = this.#ports
    const telling = tellingOf(before, after)
    if (telling === null) return
    const frames = telling === 'notice' ? notice : [relays.gap()]
    const all = telling === 'gap' || before.plan !== after.plan
    this.#onceDurable(() => {
      relays.notice(frames, telling === 'notice' ? hashed : () => frames)
      watchers.committed(all || buckets === null ? null : buckets.map(([bucket]) => bucket), servedOf(after))
    })
  }

  #tellGap(): void {
    const { relays } = this.#ports
    const gap = relays.gap()
    this.#onceDurable(() => relays.notice([gap], () => [gap]))
  }

  /** Calls `tell` once everything is durable, in the order of these calls. */
  #onceDurable(tell: () => void): void {
    this.#notices = this.#notices
      .then(() => this.#ports.durable())
      .then(tell)
      .catch((error: unknown) => this.#store.reset(error))
  }

  /**
   * True while earlier commits of the source may reach the buckets after a marker that is emitted now. While sessions
   * fail, the request fails instead of waiting.
   */
  get mustDelayWrites(): boolean {
    const { state, planStored } = this.#store
    if (state.get('failing') !== null) return false
    return planStored === null || state.get('newSlot') || state.get('comparing')
  }

  /**
   * Begins a hold: from now on the stored rows may not be a state of the source. Before the first plan serves there is
   * nothing to hold.
   */
  hold(): void {
    const { state, planStored } = this.#store
    const commit = state.get('commit')
    if (planStored === null || isComparing(commit)) return
    this.#store.atomically(() => state.set('commit', held(commit, new Date(this.#ports.clock.now()).toISOString())))
  }

  /** Begins a hold if the stored rows of the session's tables may not be a state of the source. */
  holdIfDoubtful(): void {
    if (this.#store.isDoubtful) this.hold()
  }

  /**
   * Ends the hold if everything that was compared is a state of the source now. What is stored by now is served as soon
   * as it is committed.
   */
  endHold(): void {
    const store = this.#store
    const { state, tables } = store
    const before = state.get('commit')
    const wasComparing = state.get('comparing')
    // A stored part of a transaction may have completed a row that lacked a value before it, without an op for which
    // its commit would wait.
    if (state.get('decode').partial !== null) return
    if ((!wasComparing && !isComparing(before)) || store.isDoubtful || tables.lacks((names) => store.isServed(names)))
      return
    if (wasComparing && (store.planStored !== null || !tables.copying)) state.set('comparing', false)
    if (!isComparing(before)) return
    const after = compared(before, state.get('decode').counter)
    store.atomically(() => state.set('commit', after))
    this.#announce(before, after, [], () => [], [])
  }

  /** Announces the progress of a comparison to clients, now and then. */
  tellComparing(): void {
    this.#fraction.moved(this.#store.state.get('commit').hold !== null)
  }

  status(): Pick<ReplicatorStatus, 'checkpoint' | 'plan' | 'comparing' | 'pendingBatches'> & CommitterLoad {
    const { size, length, peakLength } = this.#pipeline
    const { checkpoint, plan } = this.#store.serving
    return {
      checkpoint,
      plan,
      comparing: this.#comparing,
      pendingBatches: size,
      sending: length,
      peakSending: peakLength,
      ...this.#stored,
    }
  }

  /** The progress of the comparison that clients wait for, for people. */
  get #comparing(): ComparingStatus | null {
    const { state } = this.#store
    const { hold } = state.get('commit')
    if (hold === null) return null
    return { since: hold.since, fraction: this.#store.compared, held: state.get('decode').counter - hold.checkpoint }
  }
}

/** UTF-16 units of op texts in flight, now and at most, and the row changes and batches that were stored. */
export interface CommitterLoad {
  sending: number
  peakSending: number
  changes: number
  batches: number
}
