import type { Call, SourceConnection, SourceEvent, SourceLag, SourceStream } from '../../../sources/source.ts'
import { RockpoolError } from '../../../protocol/errors.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import { disconnectBy, faultPoint, asyncFaultPoint } from '../../shared/fault-points.ts'
import type { Batch } from '../ingest/batch.ts'
import { between } from '../ingest/between.ts'
import { Flow } from '../ingest/flow.ts'
import { Intake } from '../ingest/intake.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import { Looks } from './looks.ts'
import { markText, parseMark, type Marks } from '../ingest/marks.ts'
import { checkSyncConfig, clientName, prepare, sourceTables, type PreparePorts } from './prepare.ts'
import { Reader, type ReaderPorts } from '../copy/reader.ts'
import { storedCopy } from '../copy/stored-copy.ts'
import { careOf } from '../ingest/skipping.ts'
import { mendReturned } from '../verify/returned.ts'
import { keptIdentity, storedPlace, streamedTo } from './kept-state.ts'
import { passed } from './schedule.ts'
import type { SessionOptions } from './session-options.ts'
import type { SourceAccess } from './source-access.ts'
import { watchDefinitions, watchHealth, type Watched } from './watches.ts'
import { deliver } from '../writes/write-checkpoints.ts'
import type { Committer } from '../commit/committer.ts'
import type { Dispatcher } from '../commit/dispatcher.ts'
import type { Fencing } from '../commit/fencing.ts'
import type { Drops } from '../deploy/drops.ts'
import type { Batches } from '../ingest/batches.ts'
import type { Care } from '../ingest/care.ts'
import type { Tidying } from '../tidy/tidying.ts'
import type { Verification } from '../verify/verification.ts'

const TICK_MS = 1_000
/**
 * In calls, see `CALL_SECONDS`: what may pass until the stream is open, if others are not waited for; and after what time a session that is over and does not end, because some answer never comes, is ended.
 */
const CONNECT_CALLS = 2
const OVERTIME_CALLS = 2
/** What is under way at the end has a moment to be answered. */
const CLOSE_MS = 1_000

/** How a session is: see the getters of `Session`. */
export interface SessionStatus {
  since: string
  changes: number
  held: number
  peakHeld: number
  streaming: boolean
  waitingFor: string | null
  lag: SourceLag | null
}

/** What a session works with. */
export interface SessionParts extends PreparePorts {
  committer: Committer
  appends: Pick<Dispatcher, 'limit'>
  batches: Batches
  care: Care
  marks: Marks
  drops: Drops
  tidying: Tidying
  verification: Verification
  fencing: Fencing
}

/**
 * One poll session: connect, stream until everything before the session's own marker has come, and go on while the tenant is live or something
 * is being copied. Resolves true when the next session should follow at once. Throws RockpoolError.
 */
export class Session {
  readonly #parts: SessionParts
  readonly #settings: ReplicationSettings
  readonly #options: SessionOptions
  #source: SourceConnection | null = null
  #stream: SourceStream | null = null
  /** Aborted when nobody waits for the session any more. */
  readonly #abort = new AbortController()
  #intake: Intake | null = null
  #flow: Flow | null = null
  #reader: Reader | null = null
  #stale = false
  /** What ends those of this session. */
  readonly #subscriptions: (() => void)[] = []
  readonly #endNow = Promise.withResolvers<void>()
  /** A row lacks values: commits wait until it is read. */
  #lacking = Promise.withResolvers<void>()
  readonly #looks = new Looks()
  /** The catalog is another one than this session knows, and the stream waits: it ends at once. */
  readonly #leave = Promise.withResolvers<true>()
  #caughtUp = false
  #settled = false
  #switch: string | null = null
  readonly #began = Date.now()
  #deadline: ReturnType<typeof setTimeout> | undefined
  /** When somebody was connected last. */
  #liveAt: number | null = null
  /** Somebody waits for what was committed after the session's own marker. */
  #asked = false
  #closing = false
  /** A message that is not ours was met, and told. */
  #foreign = false
  /** After how long without a session the source forgets us; 0 = never. */
  expiresMs = 0
  readonly #over = Promise.withResolvers<never>()
  /** What the copy waits for, for people. */
  waitingFor: string | null = null
  /** Whether anything but our own markers came. */
  found = false

  constructor(parts: SessionParts, settings: ReplicationSettings, options: SessionOptions) {
    this.#parts = parts
    this.#settings = settings
    this.#options = options
    this.#over.promise.catch(() => {})
  }

  /** What there is behind what is stored. */
  get lag(): SourceLag | null {
    const { position } = streamedTo(this.#options.kind, this.#parts.store)
    return this.#stream?.lag(position) ?? null
  }

  get since(): number {
    return this.#began
  }

  /** Row changes that it has taken in. */
  get changes(): number {
    return this.#intake?.changes ?? 0
  }

  /** Whether the stream is open. */
  get streaming(): boolean {
    return this.#stream !== null
  }

  /** What is committed by now must come before the session ends. False: it is ending, so another one must follow. */
  ask(): boolean {
    this.#asked = true
    return !this.#closing
  }

  get held(): number {
    return this.#intake?.held ?? 0
  }

  /** Changes in memory that were not stored, at most. */
  get peakHeld(): number {
    return this.#flow?.peakHeld ?? 0
  }

  status(): SessionStatus {
    return {
      since: new Date(this.#began).toISOString(),
      changes: this.changes,
      held: this.held,
      peakHeld: this.peakHeld,
      streaming: this.streaming,
      waitingFor: this.waitingFor,
      lag: this.lag,
    }
  }

  /** The connection, while the session lasts. */
  get source(): SourceConnection | null {
    return this.#source
  }

  async run(): Promise<boolean> {
    const { sessionSeconds, callSeconds } = this.#settings
    const { store, committer, appends, verification, tidying } = this.#parts
    committer.limit(this.#settings)
    appends.limit(this.#settings)
    verification.begin()
    tidying.begin(this.#settings.unusedDays)
    const { kind, url } = this.#options
    store.rows.imagesOf(kind)
    const source = kind.connect({ url, settings: this.#settings, clientName: clientName(store), identity: keptIdentity(kind, store) })
    disconnectBy(() => void source.close(0))
    try {
      this.#within(CONNECT_CALLS * this.#settings.callSeconds * 1_000)
      const connected = this.#connect(source)
      connected.catch(() => {})
      const { tables, intake } = await Promise.race([connected, this.#over.promise])
      this.#within((sessionSeconds + OVERTIME_CALLS * callSeconds) * 1_000 - (Date.now() - this.#began))
      return await Promise.race([this.#work(source, tables, intake), this.#leave.promise, this.#over.promise])
    } finally {
      this.#closing = true
      clearTimeout(this.#deadline)
      disconnectBy(null)
      this.#flow?.end()
      this.#source = null
      this.#intake = null
      this.abandon()
      await this.#stream?.close().catch(() => {})
      await asyncFaultPoint('session.close')
      await source.close(CLOSE_MS)
    }
  }

  /** What a call of the source gets. */
  readonly #call = (): Call => ({ signal: this.#abort.signal, deadlineMs: this.#settings.callSeconds * 1_000 })

  /** What may take as long as the session does: to read a large table by hashes, or to wait for others. */
  readonly #longCall = (): Call => {
    const { sessionSeconds, callSeconds } = this.#settings
    return { signal: this.#abort.signal, deadlineMs: (sessionSeconds + OVERTIME_CALLS * callSeconds) * 1_000 }
  }

  async #connect(source: SourceConnection): Promise<{ tables: readonly FollowedTable[]; intake: Intake }> {
    const { store, committer, care } = this.#parts
    const { kind } = this.#options
    const connecting = (): Call => ({ ...this.#call(), deadlineMs: CONNECT_CALLS * this.#settings.callSeconds * 1_000 })
    const access: SourceAccess = { kind, source, call: connecting }
    await checkSyncConfig(this.#parts, this.#settings, access)
    await asyncFaultPoint('session.prepare')
    // Before anything is made in the database.
    await source.check(connecting())
    const prepared = await prepare(this.#parts, this.#settings, access, {
      problem: (problem) => store.diagnostics.add(problem),
      waitsFor: (what) => this.#othersWait(what),
    })
    await asyncFaultPoint('session.prepared')
    this.expiresMs = prepared.expiresMs
    this.#goesOn()
    const tables = sourceTables(this.#parts, prepared)
    committer.holdIfDoubtful()
    const intake = this.#newIntake(tables, source)
    const flow = new Flow({
      intake,
      hasRoom: () => this.#hasRoom,
      stream: () => this.#stream,
      failed: (error) => this.#over.reject(error),
    })
    this.#flow = flow
    this.#intake = intake
    this.#source = source
    this.#subscriptions.push(
      committer.onRoom(() => flow.answered()),
      care.onDurable(() => flow.answered()),
    )
    const take = (event: SourceEvent, bytes: number): void => {
      faultPoint('stream.message')
      intake.event(event, bytes)
      if (intake.changes >= this.#settings.sessionChanges) this.#endNow.resolve()
      flow.more()
    }
    const stream = await prepared.open(streamedTo(kind, store), take, connecting())
    this.#stream = stream
    stream.ended.then(
      () => this.#over.reject(new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', 'the session is over')),
      (error: unknown) => this.#over.reject(error),
    )
    if (this.#closing) await stream.close()
    await asyncFaultPoint('session.opened')
    await this.#mark('session')
    await asyncFaultPoint('session.marked')
    const watched: Watched = {
      health: this.#parts.health,
      settings: this.#settings,
      source,
      call: this.#call,
      ending: this.#endNow.promise,
      pause: (milliseconds) => this.#pause(milliseconds),
      looks: this.#looks,
      unchanged: () => this.#flow?.answered(),
      heartbeat: () => this.#mark('heartbeat'),
      end: () => {
        this.end()
        if (this.#looks.pending) this.#leave.resolve(true)
      },
    }
    void Promise.all([watchDefinitions(watched, prepared), watchHealth(watched)]).catch((error: unknown) => this.#over.reject(error))
    return { tables, intake }
  }

  /** Answers that never come do not hold the alarm. */
  #within(milliseconds: number): void {
    clearTimeout(this.#deadline)
    this.#deadline = setTimeout(() => {
      const what = `Postgres did not answer in time${this.waitingFor === null ? '' : `; it waits for ${this.waitingFor}`}`
      this.#over.reject(new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', what))
    }, milliseconds)
  }

  /** Reads what there is to read, and waits for the end. */
  async #work(source: SourceConnection, tables: readonly FollowedTable[], intake: Intake): Promise<boolean> {
    const { store, deploys, drops, fencing, verification, committer } = this.#parts
    const { tables: known, diagnostics, fences } = store
    for (let ticks = 0; ; ticks++) {
      await asyncFaultPoint('session.tick')
      if (this.#isOver(intake)) return true
      this.#lacking = Promise.withResolvers()
      if (known.copying || known.hasIncomplete) await this.#read(source, tables, intake)
      committer.endHold()
      committer.tellComparing()
      const { next } = deploys
      if (next !== null && !known.copying) await this.#switchTo(next)
      if (deploys.due(this.#settings.retireGraceSeconds)) this.#stale = true
      const dropping = drops.pending && (await drops.step())
      this.#goesOn()
      fencing.compare()
      if (this.#settled) mendReturned(store, verification)
      const verifying = this.#settled && (await this.#verify(source, tables, intake))
      const tidying = this.#settled && (await this.#tidy(intake))
      if (!this.#settled && this.#caughtUp && !committer.holdsWrites) {
        this.#settled = true
        await this.#options.settled()
      }
      if (
        this.#caughtUp &&
        committer.isIdle &&
        !drops.pending &&
        !verification.running &&
        !tidying &&
        fences.answering.length === 0 &&
        !this.#stale &&
        !this.#wanted()
      ) {
        this.#closing = !this.#asked
        if (this.#closing) return false
        this.#asked = false
        this.#caughtUp = false
        await this.#mark('session')
      }
      diagnostics.tick()
      if (ticks % 10 === 9 && this.lag?.nudge) await this.#mark('heartbeat')
      await Promise.race([
        this.#pause(this.#caughtUp && !dropping && !verifying && !tidying ? TICK_MS : 20),
        this.#endNow.promise,
        this.#lacking.promise,
      ])
    }
  }

  /** Another one should begin. */
  end(): void {
    this.#stale = true
    this.#endNow.resolve()
  }

  /** Nobody waits for it any more: whatever of it still waits for an answer does not go on. */
  abandon(): void {
    this.#closing = true
    this.#unsubscribe()
    const over = new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', 'the session is over')
    this.#over.reject(over)
    this.#abort.abort(over)
    this.#reader?.end(over)
  }

  #unsubscribe(): void {
    for (const end of this.#subscriptions.splice(0)) end()
  }

  /** What waits for an answer may live longer than the session, and must not go on: another one is at work then. Throws RockpoolError. */
  #goesOn(): void {
    if (this.#closing) throw new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', 'the session is over')
  }

  /** Ended by time, by work done, or because the catalog must be read again. */
  #isOver(intake: Intake): boolean {
    const { sessionSeconds, sessionChanges } = this.#settings
    return (
      this.#closing || this.#stale || Date.now() - this.#began >= sessionSeconds * 1_000 || intake.changes + intake.placed >= sessionChanges
    )
  }

  /** Somebody is connected, or was until a moment ago. */
  #wanted(): boolean {
    if (this.#options.live()) {
      this.#liveAt = Date.now()
      return true
    }
    return this.#liveAt !== null && Date.now() - this.#liveAt < this.#settings.lingerSeconds * 1_000
  }

  /** A comparison that somebody asked for, as far as nothing else is under way. True: it goes on soon. */
  async #verify(source: SourceConnection, tables: readonly FollowedTable[], intake: Intake): Promise<boolean> {
    const { verification, deploys, store } = this.#parts
    const { tables: known } = store
    if (!verification.running || deploys.next !== null || this.#stale) return false
    if (known.copying || known.hasIncomplete) return true
    if (verification.reads) {
      const comparing = verification.comparing(tables)
      await this.#read(source, tables, intake, {
        ...comparing,
        ...{ retired: () => null, over: () => this.#isOver(intake) || comparing.ended() },
      })
      if (!this.#isOver(intake) && !comparing.ended()) verification.sourceRead()
      return true
    }
    const goesOn = await verification.steps({
      ...{ intake, tables },
      room: () => this.#room(),
      pause: (milliseconds) => this.#pause(milliseconds),
      over: () => this.#isOver(intake),
    })
    if (verification.spent) this.#stale = true
    return goesOn
  }

  /** What nobody uses is taken away, when nothing else is under way. True: it goes on soon. */
  async #tidy(intake: Intake): Promise<boolean> {
    const { tidying, verification, deploys, store } = this.#parts
    const { tables } = store
    if (!tidying.pending || verification.running || deploys.next !== null || tables.copying || tables.hasIncomplete) return false
    if (this.#isOver(intake)) return false
    const work = { intake, room: () => this.#room(), pause: (milliseconds: number) => this.#pause(milliseconds) }
    const goesOn = await tidying.step((change, stored) => between(work, change, stored))
    if (tidying.spent) this.#stale = true
    return goesOn
  }

  /** `others`: what is done otherwise than for a copy. */
  async #read(
    source: SourceConnection,
    tables: readonly FollowedTable[],
    intake: Intake,
    others: Partial<ReaderPorts> = {},
  ): Promise<void> {
    const { store, care, committer } = this.#parts
    this.#reader = new Reader({
      intake,
      source: source.reader,
      form: this.#options.kind,
      call: this.#longCall,
      mark: (mark) => this.#emit(mark),
      tables,
      ...storedCopy(store, care, () => committer.tellComparing()),
      room: () => this.#room(),
      pause: (milliseconds) => this.#pause(milliseconds),
      waitsFor: (what) => (this.waitingFor = what),
      over: () => this.#isOver(intake),
      ...others,
    })
    try {
      await this.#reader.run()
    } finally {
      this.#reader = null
      this.waitingFor = null
    }
  }

  /** The switch is a batch of its own, between two transactions: where a marker of its own commits. */
  async #switchTo(plan: string): Promise<void> {
    this.#switch = plan
    await asyncFaultPoint('session.switch')
    await this.#mark('switch')
    while (this.#switch !== null) await this.#pause(5)
  }

  /** Others are waited for, which may take as long as the session. */
  #othersWait(what: string | null): void {
    this.waitingFor = what
    const { sessionSeconds, callSeconds } = this.#settings
    this.#within((what === null ? CONNECT_CALLS * callSeconds : sessionSeconds) * 1_000)
  }

  #newIntake(tables: readonly FollowedTable[], source: SourceConnection): Intake {
    const { store, batches, care, committer } = this.#parts
    const { tables: known, rows } = store
    const { kind } = this.#options
    return new Intake(tables, streamedTo(kind, store), {
      sliceChanges: this.#settings.sliceChanges,
      newBatch: () => batches.next(),
      store: ({ batch, position, place, incomplete }) => {
        this.#goesOn()
        if (batch.changes > 0) this.found = true
        faultPoint('stream.flush')
        committer.store({ batch, incomplete, ...storedPlace(kind, { position, place }) })
        if (known.hasIncomplete) this.#lacking.resolve()
        this.#options.progress()
        this.#acknowledge()
      },
      hasImages: (table) => known.hasImages(table),
      isIncomplete: (table, key) => known.isIncomplete(table.number, key),
      keys: (table, after, limit) => rows.keys(table.number, after, limit),
      deliver: (batch, content) => this.#deliver(batch, content, source),
      marker: (content) => this.#marker(content),
      room: () => this.#hasRoom,
      hasIncomplete: () => known.hasIncomplete,
      unexpected: () => this.#looks.ask(),
      care: careOf(care, store, false),
      lacking: (table) => {
        known.compare(table)
        committer.holdIfDoubtful()
      },
    })
  }

  #deliver(batch: Batch, text: string, source: SourceConnection): void {
    const { marks, store } = this.#parts
    const { state, diagnostics } = store
    const ours = marks.open(text)
    if (ours) deliver(batch, ours.content, ours.earlier ? state.get('issued') : undefined)
    else if (!this.#foreign) {
      this.#foreign = true
      diagnostics.add({ code: 'ROCKPOOL_FOREIGN_MARKER', reason: source.foreignMark })
    }
  }

  *#marker(text: string): Generator<undefined, void> {
    const { marks, deploys, committer } = this.#parts
    const ours = marks.open(text)
    const mark = ours && parseMark(ours.content)
    if (mark === null) return
    faultPoint('stream.marker')
    if (mark === `session ${this.#id}`) {
      this.#intake?.flush()
      this.#caughtUp = true
      this.#options.progress()
    } else if (mark === `switch ${this.#id}` && this.#switch !== null) {
      this.#intake?.flush()
      const plan = this.#switch
      if (deploys.next === plan) committer.switchTo(plan, () => deploys.switched(plan))
      this.#switch = null
    } else if (this.#reader) yield* this.#reader.marker(mark)
  }

  readonly #id = crypto.randomUUID()

  async #mark(what: string): Promise<void> {
    await this.#emit(`${what} ${this.#id}`)
  }

  async #emit(mark: string): Promise<void> {
    await this.#source?.mark(this.#parts.marks.sign(markText(mark)), this.#call())
  }

  /** The source is told a position only when it is durable here. */
  #acknowledge(): void {
    const { position } = streamedTo(this.#options.kind, this.#parts.store)
    if (!position) return
    const durable = async () => {
      await this.#options.durable()
      await asyncFaultPoint('stream.acknowledge')
    }
    durable().then(
      () => this.#stream?.acknowledge(position),
      (error: unknown) => this.#over.reject(error),
    )
  }

  /** Whether another batch may be stored. */
  get #hasRoom(): boolean {
    const { committer, care } = this.#parts
    return committer.room && !care.waits && !this.#looks.pending
  }

  async #room(): Promise<void> {
    await Promise.race([this.#over.promise, this.#flow?.room()])
    this.#goesOn()
  }

  #pause(milliseconds: number): Promise<void> {
    return passed(milliseconds, this.#over.promise)
  }
}
