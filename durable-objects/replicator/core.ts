import { tableText, type TableName } from '../../protocol/tables.ts'
import type { RefusedTable } from '../../sources/postgres/index.ts'
import type { DiagnosticsStatus } from '../../protocol/diagnostics.ts'
import type { AppendRequest, BucketRpc } from '../../protocol/messages/bucket.ts'
import type { ComparingStatus } from '../../protocol/messages/status.ts'
import type { NoticeBucket } from '../../protocol/messages/relay.ts'
import type { Serving } from '../../protocol/messages/replicator.ts'
import { bucketObjectName, mailboxPrefix } from '../../protocol/names.ts'
import type { OpId } from '../../protocol/ops.ts'
import type { RowProgram } from '../../sync-config/types.ts'
import { combinePlans } from '../../sync-config/index.ts'
import type { TenantSettings } from '../../tenants/replication.ts'
import type { Environment } from '../environment.ts'
import { Batch, type BatchPorts, type BatchTable } from './ingest/batch.ts'
import { Buckets } from './store/buckets.ts'
import { Care } from './ingest/care.ts'
import { Configs } from './store/configs.ts'
import { Definitions, ownerOf } from './store/definitions.ts'
import { Deploys } from './deploy/deploys.ts'
import { Drops } from './deploy/drops.ts'
import { migrate } from '../shared/database.ts'
import { faultPoint, asyncFaultPoint } from '../shared/fault-points.ts'
import { durableDatabase, type DurableDatabase } from '../shared/durable-database.ts'
import { Diagnostics, type ProblemOf } from './store/diagnostics.ts'
import { Differences } from './store/differences.ts'
import { Dispatcher } from './commit/dispatcher.ts'
import { FENCE_SECONDS, SLICE_LENGTH } from './limits.ts'
import { Fences } from './commit/fences.ts'
import { Fencing } from './commit/fencing.ts'
import { Fraction, rounded } from './copy/fraction.ts'
import type { CareOf, Flush } from './ingest/intake.ts'
import { afterCommit, compared, held, isComparing, servedOf, tellingOf } from './commit/hold.ts'
import { clientMailboxKey, deliveredOf, mailboxKey, MAILBOX_DEFINITION, MAILBOX_TABLE, OWN_ROW } from './writes/mailboxes.ts'
import { Marks } from './ingest/marks.ts'
import { gapFrame, hashedFrames, noticeFrames } from './commit/notice.ts'
import { Outbox, type StoredAppend, type StoredBatch } from './store/outbox.ts'
import { Pipeline } from './commit/pipeline.ts'
import { evaluateNames, Plans, PlanTables } from './store/plans.ts'
import { storable } from './session/refused.ts'
import { Relays } from './commit/relays.ts'
import { Removals } from './tidy/removals.ts'
import type { ReaderPorts } from './copy/reader.ts'
import { RowStates, type RowState } from './store/row-state.ts'
import { MIGRATIONS, StateStore, STRONG_STEPS, type State } from './store/storage.ts'
import { newCopy } from './copy/copy-state.ts'
import { Tables } from './store/tables.ts'
import { Tidying } from './tidy/tidying.ts'
import { BucketSilent } from './verify/bucket-check.ts'
import { Verification } from './verify/verification.ts'
import { bucketStub } from '../shared/namespaces.ts'
import { answered, callDeadline, untilAnswered } from '../shared/retry.ts'
import { pauseBefore, Watchers } from './commit/watchers.ts'

/** A last notice larger than this is not kept: a relay that reconnects gets a gap. */
const KEPT_NOTICE_LENGTH = 500_000

/** How often buckets that are followed directly are asked whether they still are. */
const FOLLOWERS_MS = 86_400_000
const MEND = { firstMs: 200, maxMs: 2_000 }
/** A bucket that fails so often when its totals are mended ends the verification, not the session. */
const MEND_ATTEMPTS = 5

/** Why replicators of this isolate were reset, by tenant: what the reset itself would store is undone by it, so the next incarnation does. */
const resets = new Map<string, string>()

/** What holds with or without a session: storage, and the way of stored batches to buckets and relays. */
export class Core {
  readonly db: DurableDatabase
  readonly state: StateStore
  /** Our messages in the WAL. */
  readonly marks: Marks
  readonly plans: Plans
  readonly buckets: Buckets
  readonly rows: RowStates
  readonly tables: Tables
  /** What goes wrong and does not stop us: `diagnostics.add({ code, table, key, reason })`. */
  readonly diagnostics: Diagnostics
  readonly pipeline: Pipeline
  readonly dispatcher: Dispatcher
  readonly relays: Relays
  readonly watchers: Watchers
  readonly configs: Configs
  readonly definitions: Definitions
  readonly deploys: Deploys
  readonly drops: Drops
  readonly tidying: Tidying
  readonly verification: Verification
  readonly fences: Fences
  readonly fencing: Fencing
  readonly care: Care
  /** Why the last incarnation was ended, when this isolate knows. */
  readonly resetReason: string | null
  /** What the slot kept when it was measured last. */
  slot: State['slot']
  /** What source rows become now: under the plan that serves, one that is to serve, and those that served until a moment ago. */
  evaluation: RowProgram = combinePlans([])
  /** Under the plan that is to serve, or the one that does. */
  wanted: RowProgram = combinePlans([])
  /** Since this object started: row changes and batches stored. */
  readonly stored = { changes: 0, batches: 0 }
  /** Called whenever a bucket has answered. */
  onRoom: () => void = () => {}
  /** Called when there is work for a session. */
  onWork: () => void = () => {}
  /** Batches that may wait for answers of their buckets. */
  #batchesInFlight = 1
  /** After so long without an answer a bucket is fenced. */
  #fenceMs = FENCE_SECONDS * 1_000
  /** The append that is on its way to each bucket; not wanted: it was thrown away. */
  readonly #sending = new Map<number, { wanted: boolean }>()
  readonly #ctx: DurableObjectState
  readonly #env: Environment
  readonly #tenant: string
  readonly #outbox: Outbox
  readonly #planTables: PlanTables
  /** By a gap at the checkpoint that stands still, which makes nobody ask for anything. */
  readonly #fraction = new Fraction(
    () => this.#compared,
    () => this.#tellGap(),
  )
  /** Notices leave in commit order, each once it is durable. */
  #notices: Promise<void> = Promise.resolve()

  constructor(ctx: DurableObjectState, env: Environment, tenant: string) {
    this.#ctx = ctx
    this.#env = env
    this.#tenant = tenant
    this.db = durableDatabase(ctx.storage)
    const steps = migrate(this.db, MIGRATIONS)
    this.state = new StateStore(this.db)
    this.marks = new Marks(this.state)
    this.fences = new Fences(this.state)
    this.slot = this.state.get('slot')
    this.diagnostics = new Diagnostics(this.db)
    const reset = resets.get(tenant)
    resets.delete(tenant)
    this.resetReason = reset ?? null
    if (reset !== undefined) this.diagnostics.add({ code: 'ROCKPOOL_INTERNAL', reason: `the replicator began anew: ${reset}` })
    this.care = new Care({
      ...{ state: this.state, durable: () => this.durable(), onRoom: () => this.onRoom() },
      failed: (error) => this.#reset(error),
    })
    this.plans = new Plans(this.db)
    this.#planTables = new PlanTables(this.plans)
    this.buckets = new Buckets(this.db)
    this.fences.keepOnly((bucket) => this.buckets.has(bucket))
    this.configs = new Configs(this.db)
    this.definitions = new Definitions(this.db)
    this.drops = new Drops({
      ...{ atomically: (work) => this.#atomically(work), state: this.state, definitions: this.definitions, buckets: this.buckets },
      rows: () => this.rows,
      // Buckets of a plan that is still served stay.
      committed: () => this.serving.checkpoint,
      isRead: (t) => this.tables.namesOf(t)?.some((name) => this.evaluation.reads(name)) ?? false,
      remove: (bucket, request) => this.#ask(bucket, (stub) => stub.remove(request)),
      dropped: (record, serial) => this.tidying.dropped(record, serial),
      failed: (bucket, reason) => this.#undeleted(bucket, reason),
      gone: (numbers) => this.fences.end(numbers),
    })
    this.rows = new RowStates(this.db, this.drops.dropped)
    this.tables = new Tables(this.db)
    this.verification = new Verification({
      ...{ state: this.state, tables: this.tables, buckets: this.buckets, definitions: this.definitions, diagnostics: this.diagnostics },
      ...{
        differences: new Differences(this.db),
        rows: () => this.rows,
        serving: () => this.planBehind,
        trial: (batch) => this.#trial(batch),
        silent: () => this.fences.silent,
        compared: (buckets, outcome) => this.fencing.compared(buckets, outcome),
      },
      digest: (bucket, request) => this.#ask(bucket, (stub) => stub.digest(request)),
      mend: (bucket, request) =>
        untilAnswered(() => this.#ask(bucket, (stub) => stub.mend(request)), {
          ...MEND,
          deadlineMs: callDeadline(env),
          failed: (error, attempts) => {
            if (attempts >= MEND_ATTEMPTS) throw new BucketSilent(`bucket ${bucket} cannot be mended: ${String(error)}`)
          },
        }),
    })
    const send = async (bucket: string, request: AppendRequest) => bucketStub(env, await bucketObjectName(tenant, bucket)).append(request)
    this.fencing = new Fencing({
      ...{ fences: this.fences, buckets: this.buckets, state: this.state, diagnostics: this.diagnostics, verification: this.verification },
      append: send,
      atomically: (work) => this.#atomically(work),
      tell: () => this.#tellFences(),
      untold: () => this.watchers.untold(),
      touched: (bucket) => this.tidying.touched(bucket),
      serving: () => this.serving,
      served: () => this.planBehind !== null,
      answered: () => this.onWork(),
      failed: (error) => this.#reset(error),
      deadlineMs: callDeadline(env),
    })
    this.#outbox = new Outbox(this.db, this.state.get('commit').batch)
    this.dispatcher = new Dispatcher({
      ...{ send, deadlineMs: callDeadline(env) },
      failed: ({ bucket, error }) => this.diagnostics.add({ code: 'ROCKPOOL_BUCKET_FAILING', key: bucket, reason: error }),
    })
    this.pipeline = new Pipeline({
      name: (bucket) => this.buckets.name(bucket),
      read: (id) => this.#outbox.read(id),
      skips: (bucket) => this.fences.isSilent(bucket),
      send: (append) => void this.#send(append).catch((error: unknown) => this.#reset(error)),
    })
    const nextSerial = () => {
      this.state.set('serial', this.state.get('serial') + 1)
      return this.state.get('serial')
    }
    this.watchers = new Watchers({
      ...{ db: this.db, nextSerial, serving: () => this.serving, pause: pauseBefore },
      fenced: (bucket) => this.fencing.isFenced(bucket),
      publish: (bucket, request) => this.#ask(bucket, (stub) => stub.publish(request)),
    })
    this.relays = new Relays({
      env,
      db: this.db,
      nextSerial,
      greeting: (has) => this.#greeting(has),
      gap: () => this.#gap(),
      fenced: () => this.fences.all.length > 0,
      failing: (relay, reason) => this.diagnostics.add({ code: 'ROCKPOOL_RELAY_SOCKET', reason: `${relay}: ${reason}` }),
    })
    const newest = this.#outbox.newest()
    if (newest?.decode) this.state.found(newest.decode)
    if (this.state.ofOlder || newest?.ofOlder) this.#takeOver(steps >= STRONG_STEPS)
    this.tidying = new Tidying({
      ...{ atomically: (work) => this.#atomically(work), state: this.state, buckets: this.buckets, removals: new Removals(this.db) },
      ...{ rows: () => this.rows, served: () => this.serving.checkpoint },
      owners: () => new Set([MAILBOX_DEFINITION, ...this.definitions.maintained.map(ownerOf)]),
      idle: (bucket, request) => this.#ask(bucket, (stub) => stub.idle(request)),
      erase: (bucket, request) => this.#ask(bucket, (stub) => stub.erase(request)),
      isFenced: (bucket) => this.fences.of(bucket) !== null,
      failed: (bucket, reason) => this.#undeleted(bucket, reason),
    })
    this.deploys = new Deploys({
      ...{ atomically: (work) => this.#atomically(work), state: this.state, plans: this.plans },
      ...{ configs: this.configs, definitions: this.definitions, serving: () => this.planBehind, copy: (names) => this.tables.copy(names) },
      served: () => this.serving.plan,
    })
    // The outbox holds the exact ops with their ids; buckets ignore what they have.
    if (newest) this.pipeline.recover(this.state.get('commit').batch, newest, newest.answered)
    this.#commit()
    this.relays.keepAllOpen()
    this.watchers.resume(this.state.get('commit'))
    this.fencing.probeAll()
  }

  /** What is announced: what is committed, or what is held. */
  get serving(): Serving {
    return servedOf(this.state.get('commit'))
  }

  /**
   * What an older release has stored is stored anew, so that this is known only once. `again`: it ran on what this one had stored. Then it has given numbers of write
   * checkpoints to mailboxes that nobody reads here, so they are looked at as if for the first time; and it took rows away under subkeys that this release
   * had not given them, so they are there still.
   */
  #takeOver(again: boolean): void {
    const { state } = this
    this.#atomically(() => {
      state.set('commit', state.get('commit'))
      state.set('running', state.get('running'))
      if (!again) return
      state.set('round', null)
      state.set('returned', true)
    })
  }

  /** Everything is compared and mended behind that. Mailboxes come first: a device that waits for its number shows nothing new. */
  mendReturned(): void {
    const { state, verification } = this
    if (!state.get('returned') || !state.get('round')?.done || verification.running || this.planBehind === null) return
    this.#atomically(() => {
      state.set('returned', false)
      verification.start(true)
    })
  }

  /** Once a day: a bucket that lost its streams together with its object has not said so. */
  askFollowers(): void {
    if (this.watchers.size === 0 || Date.now() - this.state.get('followersAsked') < FOLLOWERS_MS) return
    this.state.set('followersAsked', Date.now())
    this.watchers.publishAll()
  }

  /** Somebody is connected: the tenant is followed live. */
  get live(): boolean {
    return this.relays.size > 0 || this.watchers.size > 0
  }

  /** The tables that the session that begins cannot follow. Stored, because objects that nobody needs end, and operators ask all the same. */
  refuse(found: readonly RefusedTable[]): void {
    const tables = storable(found)
    if (JSON.stringify(tables) !== JSON.stringify(this.state.get('refused'))) this.state.set('refused', tables)
  }

  /** Those among them that the sync config that serves reads, or the one that is to serve. What only an earlier one reads is nobody's business. */
  get refusedTables(): { table: string; reason: string }[] {
    const read = this.state.get('refused').filter(({ names }) => !this.#servesNobody({ names }))
    return read.map(({ table, reason }) => ({ table, reason }))
  }

  /** The last problems; those of sync configs that were replaced are marked. */
  get problems(): DiagnosticsStatus {
    return this.diagnostics.status((of) => this.#servesNobody(of))
  }

  /** Whether it is of sync configs alone that neither serve nor are to serve. */
  #servesNobody(of: ProblemOf): boolean {
    const plans = [this.planBehind, this.state.get('next')].filter((plan) => plan !== null)
    const has = (plan: string) => ('definition' in of ? this.#planTables.has(plan, of.definition) : this.#planTables.reads(plan, of.names))
    return plans.length > 0 && !plans.some(has)
  }

  /** For a reader: what is to be read, and what there is. */
  get copySources(): Pick<
    ReaderPorts,
    'care' | 'copyState' | 'progress' | 'incomplete' | 'retired' | 'successor' | 'forget' | 'keys' | 'range'
  > {
    const { tables } = this
    return {
      copyState: (table) => tables.copyState(table),
      care: this.careOf(true),
      progress: (table, copy) => {
        tables.progress(table, copy.state === 'done' && this.care.copied(table.number) ? newCopy(true) : copy)
        this.tellComparing()
      },
      incomplete: (limit) => tables.incomplete(limit),
      retired: () => tables.retired,
      successor: (table) => tables.successor(table),
      forget: (table) => tables.forget(table),
      keys: ({ number }, after, limit) => this.rows.keys(number, after, limit),
      range: ({ number }, from, to, limit) => this.rows.range(number, from, to, limit),
    }
  }

  /** For changes of the stream, or for rows that are read. */
  careOf(reads: boolean): CareOf {
    return {
      care: this.care,
      skipped: (table, key, left) => {
        const copying = this.tables.copyState(table).state !== 'done'
        this.care.skipped(copying && !reads)
        if (!copying) this.tables.compare(table)
        const what = key === '' ? 'TRUNCATE' : 'a change of this row'
        const became = left ? 'what was synced of it is left as it was' : 'the row is left out'
        const reason = `${what} ended the replicator each time it came, and was skipped: ${became}${reads ? '' : '; the table is compared'}`
        this.diagnostics.add({ code: 'ROCKPOOL_CHANGE_SKIPPED', table: tableText(table), key, reason })
      },
    }
  }

  /**
   * Whether another batch may be stored. While calls of buckets wait for their turn, transactions gather instead: fewer and larger appends are what
   * makes many buckets fast. Of full slices about two are on their way, or memory would be what is short.
   */
  get room(): boolean {
    const { unanswered, appends, length } = this.pipeline
    if (this.care.waits) return false
    return unanswered < this.#batchesInFlight && appends < this.dispatcher.parallel && length < SLICE_LENGTH
  }

  limit({
    batchesInFlight,
    appendsInFlight,
    activeBuckets,
    fenceSeconds,
  }: Pick<TenantSettings, 'batchesInFlight' | 'appendsInFlight' | 'activeBuckets' | 'fenceSeconds'>): void {
    this.#fenceMs = fenceSeconds * 1_000
    this.#batchesInFlight = batchesInFlight
    this.dispatcher.parallel = appendsInFlight
    this.dispatcher.awake = activeBuckets
  }

  /** The plan behind everything stored. */
  get planBehind(): string | null {
    const plan = this.pipeline.plan
    return plan === undefined ? this.state.get('commit').plan : plan
  }

  /** The write checkpoint that was last stored for a client. */
  delivered(user: string, clientId: string): bigint | null {
    const state = (key: string) => this.rows.get({ t: MAILBOX_TABLE.number, key }, MAILBOX_TABLE.name)
    return deliveredOf(state(mailboxKey(user)), clientId) ?? deliveredOf(state(clientMailboxKey(user, clientId)), OWN_ROW)
  }

  /** What was committed may reach the buckets behind a marker that is emitted now. While sessions fail nothing is promised: whoever asks is told. */
  get holdsWrites(): boolean {
    if (this.state.get('failing') !== null) return false
    return this.planBehind === null || this.state.get('newSlot') || this.state.get('comparing')
  }

  /** From now on what is stored may be no state of the source. Before the first plan serves there is nothing to hold. */
  hold(): void {
    const commit = this.state.get('commit')
    if (this.planBehind === null || isComparing(commit)) return
    this.#atomically(() => this.state.set('commit', held(commit, new Date().toISOString())))
  }

  /** The tables of a session are known: whether what is stored of them may be no state of the source. */
  holdIfDoubtful(): void {
    if (this.#doubtful) this.hold()
  }

  /** Whether all that was compared is a state of the source now; then what is stored by now is served as soon as it is committed. */
  endHold(): void {
    const before = this.state.get('commit')
    const wasComparing = this.state.get('comparing')
    // What is stored of a transaction may have settled a row that lacked a value before it, without an op that its commit would wait for.
    if (this.state.get('decode').partial !== null) return
    if ((!wasComparing && !isComparing(before)) || this.#doubtful || this.tables.lacks((names) => this.#isServed(names))) return
    if (wasComparing && (this.planBehind !== null || !this.tables.copying)) this.state.set('comparing', false)
    if (!isComparing(before)) return
    const after = compared(before, this.state.get('decode').counter)
    this.#atomically(() => this.state.set('commit', after))
    this.#tell(before, after, [], () => [], [])
  }

  /** For people: how far the comparison is that clients wait for. */
  get comparing(): ComparingStatus | null {
    const { hold } = this.state.get('commit')
    if (hold === null) return null
    return { since: hold.since, fraction: this.#compared, held: this.state.get('decode').counter - hold.checkpoint }
  }

  get #compared(): number {
    return this.tables.compared((names) => this.#isServed(names))
  }

  /** Clients are told how far it is, now and then. */
  tellComparing(): void {
    this.#fraction.moved(this.state.get('commit').hold !== null)
  }

  #tellGap(): void {
    const gap = this.#gap()
    this.#onceDurable(() => this.relays.notice([gap], () => [gap]))
  }

  newBatch(): Batch {
    return new Batch(this.state.get('decode').counter, this.#batchSources)
  }

  /** A batch over another one that is never stored, to see what it would do. */
  #trial(batch: Batch): Batch {
    return new Batch(batch.counter, { ...this.#batchSources, states: (table, keys) => statesOf(batch, table, keys), skipped: () => {} })
  }

  get #batchSources(): BatchPorts {
    return {
      evaluate: (table, row) => evaluateNames(this.evaluation, table.names ?? [table], row),
      states: (table, keys) => this.rows.all(table.number, keys, table.name),
      number: (bucket, definition) => {
        const name = definition === MAILBOX_DEFINITION ? bucket.replace(mailboxPrefix(), mailboxPrefix(this.state.seed())) : bucket
        const number = this.buckets.number(name, definition)
        // Already now: its object, and its record with it, could be erased before this is stored.
        this.tidying.touched(number)
        return number
      },
      skipped: ({ schema, name }, key, reason, definition) =>
        this.diagnostics.add({
          code: 'ROCKPOOL_ROW_SKIPPED',
          table: tableText({ schema, name }),
          ...(key === null ? {} : { key }),
          reason,
          ...(definition === undefined ? {} : { of: { definition } }),
        }),
    }
  }

  /** ONE storage transaction; then the ops are on their way. `plan`: this batch is the switch to that plan. */
  store({ batch, position, partial, incomplete }: Flush, plan?: string): void {
    faultPoint('batch.store')
    const stored = this.#atomically(() => {
      // I1: op ids are given once.
      if (batch.start !== this.state.get('decode').counter) throw new Error('a batch was overtaken by another one')
      if (this.verification.counts) this.#recount(batch)
      this.care.stored(batch.changes)
      this.rows.put(batch.rows.values())
      // Once more: a round may have begun since the ops were made, and would find the bucket empty.
      for (const bucket of batch.appends.keys()) this.tidying.touched(bucket)
      faultPoint('batch.rows')
      this.buckets.save()
      for (const { table, key, pending } of incomplete.values()) this.tables.setIncomplete(table.number, key, pending)
      const decode = { counter: batch.counter, position, partial }
      const final = partial === null && (isComparing(this.state.get('commit')) || !this.#lacks(plan ?? this.planBehind))
      // Nothing to tell, and no slices that wait for their last one: the position is all.
      if (batch.appends.size === 0 && plan === undefined && !this.pipeline.openGroup) {
        this.state.set('decode', decode)
        return null
      }
      if (plan !== undefined) this.deploys.switched(plan)
      const appends = this.fences.sendable(batch.appends)
      const stored = { last: batch.counter, final, plan: plan ?? this.planBehind, appends }
      const added = this.#outbox.add({ ...stored, decode: this.state.advance(decode), answered: this.pipeline.answeredUpTo })
      faultPoint('batch.outbox')
      return added
    })
    this.stored.changes += batch.changes
    this.stored.batches++
    if (stored) this.#orReset(() => this.#dispatch(stored))
  }

  #recount(batch: Batch): void {
    for (const { table, states } of batch.rows.values()) {
      for (const [key, state] of states) {
        const ref = { t: table.number, key }
        this.verification.storing(ref, () => this.rows.get(ref, table.name)?.outputs ?? [], state?.outputs ?? [])
      }
    }
  }

  /** A batch of its own without ops: the plan serves from here on. To be called between two transactions. */
  switchTo(plan: string): void {
    const batch = this.newBatch()
    batch.counter++
    const { position } = this.state.get('decode')
    this.store({ batch, position, partial: null, incomplete: new Map() }, plan)
  }

  /** A session begins, and nothing is under way between stream and storage: what deploys have changed takes effect. */
  begin(graceSeconds: number): void {
    this.evaluation = this.deploys.begin(graceSeconds, this.state.get('decode').counter)
    const plan = this.state.get('next') ?? this.planBehind
    this.wanted = combinePlans(plan === null ? [] : [this.plans.load(plan)])
  }

  /** Resolves when everything written so far is durable. */
  durable(): Promise<void> {
    return this.#ctx.storage.sync()
  }

  /** One call of a bucket, with a deadline. */
  async #ask<T>(bucket: string, call: (bucket: BucketRpc) => Promise<T>): Promise<T> {
    const name = await bucketObjectName(this.#tenant, bucket)
    return answered(() => call(bucketStub(this.#env, name)), callDeadline(this.#env))
  }

  async #send(append: StoredAppend): Promise<void> {
    const { bucket } = append
    const sending = { wanted: true }
    this.#sending.set(bucket, sending)
    const state = await this.dispatcher.append(this.buckets.name(bucket), append, {
      // Compaction touches nothing above it: while a checkpoint is held, every bucket can answer for it.
      committed: () => this.fences.of(bucket)?.served ?? this.serving.checkpoint,
      wanted: () => sending.wanted,
      unanswered: (milliseconds) => {
        if (sending.wanted && this.fences.isDue(bucket, milliseconds, this.#fenceMs)) this.#fence(append)
      },
    })
    if (state === null || !sending.wanted) return
    this.#sending.delete(bucket)
    faultPoint('append.answered')
    this.pipeline.answered(bucket, state)
    this.#commit()
    this.onRoom()
  }

  /** What is on its way to the bucket of this append is thrown away, and commits go on. */
  #fence(append: StoredAppend): void {
    this.fencing.begin(append, this.#fenceMs)
    const sending = this.#sending.get(append.bucket)
    if (sending) sending.wanted = false
    this.#sending.delete(append.bucket)
    this.pipeline.drop(append.bucket)
    this.#commit()
    this.onRoom()
  }

  #tellFences(): void {
    this.#onceDurable(() => {
      if (this.fences.all.length > 0) this.relays.fence()
      this.relays.notice([this.#gap()], () => [this.#gap()])
      this.watchers.publishAll()
    })
  }

  #dispatch(batch: StoredBatch): void {
    faultPoint('batch.stored')
    this.pipeline.dispatch(batch)
    if (batch.appends.length === 0) this.#commit()
  }

  #commit(): void {
    const commit = this.pipeline.commit(this.state.get('commit').committed)
    if (!commit) return
    faultPoint('commit.begin')
    const frames = noticeFrames(commit, this.fencing.names)
    const length = frames.reduce((sum, frame) => sum + frame.length, 0)
    const kept = commit.buckets !== null && length <= KEPT_NOTICE_LENGTH && this.fences.all.length === 0
    const named = kept ? { previous: commit.previous, parts: frames } : null
    const before = this.state.get('commit')
    const published = this.watchers.told
    const after = afterCommit(before, { committed: commit.checkpoint, plan: commit.plan, named, batch: commit.upTo, published })
    this.#atomically(() => {
      this.state.set('commit', after)
      faultPoint('commit.state')
      this.#outbox.drop(commit.upTo)
      faultPoint('commit.drop')
    })
    faultPoint('commit.stored')
    this.#tell(before, after, frames, () => hashedFrames(commit), commit.buckets)
  }

  /** Relays and followed buckets are told what is served now, once that is durable. */
  #tell(
    before: State['commit'],
    after: State['commit'],
    notice: readonly string[],
    hashed: () => string[],
    buckets: readonly NoticeBucket[] | null,
  ): void {
    const telling = tellingOf(before, after)
    if (telling === null) return
    const frames = telling === 'notice' ? notice : [this.#gap()]
    const all = telling === 'gap' || before.plan !== after.plan
    this.#onceDurable(() => {
      this.relays.notice(frames, telling === 'notice' ? hashed : () => frames)
      this.watchers.committed(all || buckets === null ? null : buckets.map(([bucket]) => bucket), servedOf(after))
    })
  }

  /** In the order of these calls. */
  #onceDurable(tell: () => void): void {
    this.#notices = this.#notices
      .then(() =>
        answered(async () => {
          await this.durable()
          await asyncFaultPoint('notice.durable')
        }, callDeadline(this.#env)),
      )
      .then(tell)
      .catch((error: unknown) => this.#reset(error))
  }

  #greeting(has: OpId | null): string[] {
    const { named, hold } = this.state.get('commit')
    if (named === null || has === null || named.previous !== has) return [this.#gap()]
    // The notice is of before: it does not say how far the comparison is.
    return hold ? [...named.parts, this.#gap()] : named.parts
  }

  #gap(): string {
    const { checkpoint, plan } = this.serving
    const comparing = this.state.get('commit').hold && rounded(this.#compared)
    return gapFrame(checkpoint, plan, this.fencing.names, comparing)
  }

  /** Tables that clients have something of, now or as soon as everything stored is committed, may be of no state of the source. */
  get #doubtful(): boolean {
    return this.tables.doubtful((names) => this.#isServed(names))
  }

  #isServed(names: readonly TableName[]): boolean {
    return this.#planTables.reads(this.planBehind, names) || this.#planTables.reads(this.serving.plan, names)
  }

  #undeleted(bucket: string, reason: string): void {
    this.diagnostics.add({ code: 'ROCKPOOL_BUCKET_FAILING', key: bucket, reason: `it cannot be deleted: ${reason}` })
  }

  /** Rows lack values that clients of this plan would see. */
  #lacks(plan: string | null): boolean {
    return this.tables.lacks((names) => this.#planTables.reads(plan, names))
  }

  #atomically<T>(work: () => T): T {
    return this.#orReset(() => this.db.transaction(work))
  }

  #orReset<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      this.#reset(error)
      throw error
    }
  }

  /** Memory and storage may differ now; the next incarnation begins from storage. */
  #reset(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error)
    console.error('the replicator is reset', error)
    resets.set(this.#tenant, reason)
    this.#ctx.abort(reason)
  }
}

function statesOf(batch: Batch, table: BatchTable, keys: readonly string[]): Map<string, RowState> {
  return new Map(
    keys.flatMap((key) => {
      const state = batch.state(table, key)
      return state ? [[key, state]] : []
    }),
  )
}
