import { RockpoolError } from '../../../protocol/errors.ts'
import type {
  Prepared,
  SourceConnection,
  SourceEvent,
  SourceLag,
  SourcePosition,
  SourceStream,
} from '../../../sources/source.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import { disconnectBy, faultPoint, asyncFaultPoint } from '../../shared/fault-points.ts'
import { BatchWindow } from '../ingest/batch-window.ts'
import { Flow } from '../ingest/flow.ts'
import type { FollowedTable } from '../ingest/followed-table.ts'
import type { Intake } from '../ingest/intake.ts'
import type { LeftTransaction } from '../ingest/intake-ports.ts'
import { TransactionLimit } from '../ingest/transaction-limit.ts'
import type { SessionAccess } from '../verify/session-access.ts'
import { CatalogChecks } from './catalog-checks.ts'
import { Deadlines } from './deadlines.ts'
import { keptIdentity, streamedTo } from './kept-state.ts'
import { leaveTransaction } from './leave-transaction.ts'
import { PlanSwitch } from './plan-switch.ts'
import { checkSyncConfig, clientName, prepare, sourceTables } from './prepare.ts'
import { Reads } from './reads.ts'
import { sessionIntake } from './session-intake.ts'
import { SessionMarks, type SessionMark } from './session-marks.ts'
import type { SessionOptions } from './session-options.ts'
import type { SessionParts, SessionStatus } from './session-parts.ts'
import { SessionState, type SessionEnd } from './session-state.ts'
import type { SourceAccess } from './source-access.ts'
import { sessionTasks, type Task } from './tasks.ts'
import { watchDefinitions, watchHealth } from './watch.ts'

// The file is long because the steps of a session share its state, and their order matters.

/** The pause between two rounds of tasks when nothing is to be done, and when there is more to do. */
const TICK_MS = 1_000
const BUSY_MS = 20
/**
 * The source may take so long to hear that a transaction was left behind. When it does not hear, it sends the
 * transaction once more, and is told again.
 */
const LEAVE_MS = 5_000
/** At the end, what is under way has a moment to be answered. */
const CLOSE_MS = 1_000

/**
 * One period of connection with the source: it connects, opens the stream, and runs its tasks (`tasks.ts`) until
 * everything is taken in and no client is connected. `SessionState` has what it knows, and how it may end.
 */
export class Session {
  readonly #parts: SessionParts
  readonly #settings: ReplicationSettings
  readonly #options: SessionOptions
  readonly #state = new SessionState()
  readonly #deadlines: Deadlines
  readonly #marks: SessionMarks
  readonly #planSwitch: PlanSwitch
  readonly #checks = new CatalogChecks()
  readonly #limit: TransactionLimit
  /** They end subscriptions of this session to parts that live longer. */
  readonly #subscriptions: (() => void)[] = []
  #source: SourceConnection | null = null
  #stream: SourceStream | null = null
  readonly #opened = Promise.withResolvers<SourceStream>()
  #intake: Intake | null = null
  #flow: Flow | null = null
  #reads: Reads | null = null
  /** Resolves when the source knows that a transaction was left behind, or does not answer. */
  #left: Promise<void> | null = null
  #expiresMs = 0

  constructor(parts: SessionParts, settings: ReplicationSettings, options: SessionOptions) {
    this.#parts = parts
    this.#settings = settings
    this.#options = options
    this.#deadlines = new Deadlines(settings, this.#state)
    this.#marks = new SessionMarks({
      store: parts.store,
      marks: parts.marks,
      send: async (text) => this.#source?.mark(text, this.#deadlines.call()),
      foreignMark: () => this.#source?.foreignMark ?? '',
      arrived: (mark) => this.#arrived(mark),
      readArrived: (mark) => this.#reads?.arrived(mark) ?? [],
    })
    this.#limit = new TransactionLimit({
      state: parts.store.state,
      most: settings.transactionRows,
      spent: () => (this.#intake?.work ?? 0) >= settings.sessionChanges,
      durable: options.durable,
      answered: () => this.#flow?.answered(),
      failed: (error) => this.#state.fail(error),
    })
    this.#planSwitch = new PlanSwitch({
      committer: parts.committer,
      deploys: parts.deploys,
      mark: () => this.#marks.emit('switch'),
      failure: this.#state.failure,
    })
  }

  /** After how many milliseconds without a session the source forgets us; 0 for never. */
  get expiresMs(): number {
    return this.#expiresMs
  }

  /** A change was stored that was not only a mark of ours. */
  get hasStoredChanges(): boolean {
    return this.#state.hasStoredChanges
  }

  /** The connection, while the session lasts. */
  get source(): SourceConnection | null {
    return this.#source
  }

  get peakHeld(): number {
    return this.#flow?.peakHeld ?? 0
  }

  status(): SessionStatus {
    return {
      since: new Date(this.#state.began).toISOString(),
      changes: this.#intake?.changes ?? 0,
      held: this.#intake?.held ?? 0,
      peakHeld: this.peakHeld,
      streaming: this.#stream !== null,
      waitingFor: this.#state.waitingFor,
      lag: this.#lag(),
    }
  }

  /**
   * Returns `closing` when the session is ending, so that another one must follow. Otherwise everything that is
   * committed by now comes before it ends.
   */
  requestCatchUp(): 'accepted' | 'closing' {
    return this.#state.requestCatchUp()
  }

  /** Another session should begin. */
  restart(): void {
    this.#state.restart()
  }

  /** Nobody waits for the session any more: whatever of it still waits for an answer does not continue. */
  abandon(): void {
    for (const end of this.#subscriptions.splice(0)) end()
    const error = this.#state.abandon()
    this.#reads?.end(error)
  }

  /** Returns how the session ended. Throws RockpoolError. */
  async run(): Promise<SessionEnd> {
    const settings = this.#settings
    const { store, committer, appends, verification, tidying } = this.#parts
    committer.limit(settings)
    appends.limit(settings)
    verification.begin()
    tidying.begin(settings.unusedDays)
    const { kind, url } = this.#options
    store.rows.imagesOf(kind)
    const source = kind.connect({ url, settings, clientName: clientName(store), identity: keptIdentity(kind, store) })
    disconnectBy(() => void source.close(0))
    const state = this.#state
    try {
      this.#deadlines.connect()
      const connected = this.#connect(source)
      connected.catch(() => {})
      const session = await Promise.race([connected, state.leaving, state.failure])
      if (typeof session === 'string') return session
      this.#deadlines.work()
      return await Promise.race([this.#work(session), state.leaving, state.failure])
    } finally {
      await this.#left
      state.close()
      this.#deadlines.clear()
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

  async #connect(source: SourceConnection): Promise<SessionAccess> {
    const { store, committer } = this.#parts
    const { kind } = this.#options
    const access: SourceAccess = { kind, source, call: this.#deadlines.connectCall }
    await checkSyncConfig(this.#parts, this.#settings, access)
    await asyncFaultPoint('session.prepare')
    // Before anything is made in the database.
    await source.check(this.#deadlines.connectCall())
    await this.#options.leaveFormer(source)
    const prepared = await prepare(this.#parts, this.#settings, access, {
      problem: (problem) => store.diagnostics.add(problem),
      waitsFor: (what) => this.#waitForOthers(what),
    })
    await asyncFaultPoint('session.prepared')
    this.#expiresMs = prepared.expiresMs
    this.#state.assertOpen()
    const tables = sourceTables(this.#parts, prepared)
    committer.holdIfDoubtful()
    const intake = await this.#open(source, prepared, tables)
    this.#watch(source, prepared)
    const session: SessionAccess = {
      tables,
      intake,
      room: () => this.#room(),
      pause: (milliseconds) => this.#state.pause(milliseconds),
      isOver: () => this.#isOver(intake),
    }
    this.#reads = new Reads({
      parts: this.#parts,
      kind,
      state: this.#state,
      deadlines: this.#deadlines,
      marks: this.#marks,
      session,
      source,
    })
    return session
  }

  /** Opens the stream, and emits the mark by which the session knows that it has caught up. */
  async #open(source: SourceConnection, prepared: Prepared, tables: readonly FollowedTable[]): Promise<Intake> {
    const { store, committer, care } = this.#parts
    const state = this.#state
    const { kind } = this.#options
    const intake = sessionIntake(tables, {
      parts: this.#parts,
      kind,
      sliceChanges: this.#settings.sliceChanges,
      limit: this.#limit,
      left: (transaction) => this.#leave(transaction),
      state,
      marks: this.#marks,
      hasRoom: () => this.#hasRoom,
      stored: () => {
        this.#options.progress()
        this.#acknowledge()
      },
      unexpected: () => this.#checks.request(),
    })
    const flow = new Flow({
      intake,
      window: new BatchWindow(this.#settings.batchWindowMs),
      hasRoom: () => this.#hasRoom,
      stream: () => this.#stream,
      failed: (error) => state.fail(error),
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
      if (intake.work >= this.#settings.sessionChanges) state.end()
      // Nothing of what passes is held.
      if (event.kind !== 'passed' || intake.busy) flow.more()
    }
    const stream = await prepared.open(streamedTo(kind, store), take, this.#deadlines.connectCall())
    this.#stream = stream
    this.#opened.resolve(stream)
    stream.ended.then(
      () => state.fail(new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', 'the session is over')),
      (error: unknown) => state.fail(error),
    )
    if (state.isClosing) await stream.close()
    await asyncFaultPoint('session.opened')
    await this.#marks.emit('session')
    await asyncFaultPoint('session.marked')
    return intake
  }

  #watch(source: SourceConnection, prepared: Prepared): void {
    const state = this.#state
    const { call } = this.#deadlines
    const restart = () => {
      state.restart()
      // The stream waits for a check of the catalog, and so may the task that is under way.
      if (this.#checks.pending) state.leave()
    }
    const definitions = watchDefinitions({
      settings: this.#settings,
      state,
      checks: this.#checks,
      prepared,
      call,
      unchanged: () => this.#flow?.answered(),
      restart,
    })
    const health = watchHealth({
      settings: this.#settings,
      state,
      health: this.#parts.health,
      source,
      call,
      heartbeat: () => this.#marks.emit('heartbeat'),
      restart,
    })
    void Promise.all([definitions, health]).catch((error: unknown) => state.fail(error))
  }

  /** Runs the tasks, round by round, until the session ends. */
  async #work(session: SessionAccess): Promise<SessionEnd> {
    const tasks = this.#tasks(session)
    const state = this.#state
    for (let number = 0; ; number++) {
      await asyncFaultPoint('session.tick')
      if (session.isOver()) {
        await this.#cut(session.intake)
        return 'restart'
      }
      state.beginRound()
      let isBusy = false
      for (const task of tasks) {
        if (!task.isDue()) continue
        const outcome = await task.step({ number, isBusy })
        if (outcome === 'finished') return 'idle'
        state.assertOpen()
        isBusy ||= outcome === 'busy'
      }
      const pause = state.pause(state.isCaughtUp && !isBusy ? TICK_MS : BUSY_MS)
      await Promise.race([pause, state.ending, state.woken])
    }
  }

  #tasks(session: SessionAccess): Task[] {
    return sessionTasks({
      parts: this.#parts,
      settings: this.#settings,
      state: this.#state,
      marks: this.#marks,
      planSwitch: this.#planSwitch,
      session,
      copy: async () => this.#reads?.copy(),
      compareTables: async () => this.#reads?.compareTables(),
      lag: () => this.#lag(),
      isLive: () => this.#options.live(),
      settled: () => this.#options.settled(),
    })
  }

  /**
   * Each session stores something of a large transaction. One whose work is done when it comes to what is new of it
   * waits for room.
   */
  async #cut(intake: Intake): Promise<void> {
    if (this.#state.isClosing) return
    if (intake.busy && intake.work >= this.#settings.sessionChanges) await this.#room()
    intake.cut()
  }

  /** A transaction is not read to its end. Nothing more of this stream is used, and the session ends. */
  #leave(transaction: LeftTransaction): void {
    const { store, committer } = this.#parts
    const { kind } = this.#options
    leaveTransaction({ store, committer, kind, most: this.#settings.transactionRows }, transaction)
    this.#options.progress()
    const state = this.#state
    for (const end of this.#subscriptions.splice(0)) end()
    this.#reads?.end(new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', 'the session is over'))
    state.restart()
    state.leave()
    this.#left = Promise.race([this.#acknowledgeLast(transaction.position), state.pause(LEAVE_MS)]).catch(() => {})
  }

  /** The source has heard of the position when the stream is closed. */
  async #acknowledgeLast(position: SourcePosition): Promise<void> {
    await this.#options.durable()
    await asyncFaultPoint('stream.acknowledge')
    // The first events may come before the call that opens the stream has returned.
    const stream = await this.#opened.promise
    stream.acknowledge(position)
    await stream.close()
  }

  /** The session has taken long enough or done enough, or another one must begin. */
  #isOver(intake: Intake): boolean {
    const { sessionSeconds, sessionChanges } = this.#settings
    const { isClosing, mustRestart, began } = this.#state
    return isClosing || mustRestart || Date.now() - began >= sessionSeconds * 1_000 || intake.work >= sessionChanges
  }

  #arrived(mark: SessionMark): void {
    if (mark === 'session') {
      this.#intake?.flush()
      this.#state.catchUp()
      this.#options.progress()
    } else if (mark === 'switch') {
      this.#planSwitch.arrived(() => this.#intake?.flush())
    }
  }

  /** Others are waited for, or no longer (null). */
  #waitForOthers(what: string | null): void {
    this.#state.waitingFor = what
    if (what === null) this.#deadlines.connect()
    else this.#deadlines.waitForOthers()
  }

  /** A position is acknowledged when it is durable here. */
  #acknowledge(): void {
    const { position } = streamedTo(this.#options.kind, this.#parts.store)
    if (!position) return
    const durable = async () => {
      await this.#options.durable()
      await asyncFaultPoint('stream.acknowledge')
    }
    durable().then(
      () => this.#stream?.acknowledge(position),
      (error: unknown) => this.#state.fail(error),
    )
  }

  #lag(): SourceLag | null {
    const { position } = streamedTo(this.#options.kind, this.#parts.store)
    return this.#stream?.lag(position) ?? null
  }

  /** Another batch may be stored. */
  get #hasRoom(): boolean {
    const { committer, care } = this.#parts
    return committer.room && !care.waits && !this.#checks.pending && !this.#limit.waits
  }

  async #room(): Promise<void> {
    await Promise.race([this.#state.failure, this.#flow?.room()])
    this.#state.assertOpen()
  }
}
