import { DurableObject } from 'cloudflare:workers'
import { FIRST_KIND, kindOf } from '../../sources/registry.ts'
import type { SourceFacts, SourceProblem } from '../../sources/source.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import type { ConfigsAnswer, DeployAnswer, DeployRequest, RollbackAnswer } from '../../protocol/messages/admin.ts'
import type { ReplicatorRpc, Serving } from '../../protocol/messages/replicator.ts'
import type { ReplicatorStatus } from '../../protocol/messages/status.ts'
import type { Versioned } from '../../protocol/versions.ts'
import type { VerifyAnswer } from '../../protocol/verification.ts'
import { tenantOfObject, type OwnTenant } from '../../tenants/of-object.ts'
import type { ReplicationSettings } from '../../tenants/replication.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import type { Environment } from '../environment.ts'
import { enableFaults, faultPoint, asyncFaultPoint } from '../shared/fault-points.ts'
import { isElsewhere } from '../shared/namespaces.ts'
import { objectName } from '../shared/object-name.ts'
import { answered, callDeadline, Unanswered, type Attempt } from '../shared/retry.ts'
import { checkVersion } from '../shared/version.ts'
import { Admin } from './deploy/admin.ts'
import { nextAttempt, type Attempt as Start } from './session/attempts.ts'
import { clientName, resync } from './session/prepare.ts'
import type { State, StateStore } from './store/storage.ts'
import { alarmMs } from './session/deadlines.ts'
import { idleWaitMs, retryWaitMs } from './session/schedule.ts'
import { keptIdentity, streamedTo } from './session/kept-state.ts'
import { Session } from './session/session.ts'
import type { SourceAccess } from './session/source-access.ts'
import { isSettled, LOOK_FRESH_MS, LOOK_MS, lookOf, oneAtATime, type Known, type Looked } from './session/source-look.ts'
import { replicatorStatus, type StatusPorts } from './status.ts'
import { wire, type Wired } from './wiring.ts'
import { askFollowers } from './commit/followers.ts'
import { lastDelivered } from './writes/mailboxes.ts'
import { WriteCheckpoints } from './writes/write-checkpoints.ts'

/** Alarms are dropped after six failures; this one stands in case the session ends in a way that arms none. */
const GUARD_MS = 20 * 60_000
/** By then the process that said it is stopping has ended. */
const STOPPING_MS = 5_000
/** Storage that a newer release has written is looked at again so often. */
const REFUSED_MS = 60_000
/** What may have been held when a session was killed. */
const CAREFUL_SLICES = 2
/** So long a connection of a single question may take to close. */
const CLOSE_MS = 1_000
const ENDED = 'a deploy, an eviction or a fault ended it in the middle of a session'

/** What a look has found, and the kind of source that it is of. */
type Found = Pick<SourceAccess, 'kind'> & { facts: SourceFacts }

/** One tenant's replicator: wires storage, session, relays and RPC. What they decide is in the modules beside it. */
export class Replicator extends DurableObject<Environment> implements ReplicatorRpc {
  /** What is stored cannot be opened by this code: then every call says so, and nothing else is done. */
  readonly #opened: Wired | RockpoolError
  readonly #name: string
  readonly #writes: WriteCheckpoints
  #made: Admin | null = null
  #session: Session | null = null
  /** An alarm has begun a session in this incarnation, or tried to. */
  #began = false
  /** The session got something done. */
  #progressed = false
  #sessions = 0
  /** Somebody asked for a session while the last one was ending. */
  #again = false
  #peakHeld = 0
  #looked: Looked | null = null

  constructor(ctx: DurableObjectState, env: Environment) {
    super(ctx, env)
    enableFaults(env.FAULTS, ctx)
    faultPoint('replicator.start')
    this.#name = objectName(ctx)
    this.#opened = opened(() => wire(ctx, env, this.#tenant.name))
    this.#writes = new WriteCheckpoints({
      emit: (content) => this.#emit(content),
      issued: () => this.#state.get('issued'),
      setIssued: (upTo) => this.#state.set('issued', upTo),
      delivered: (user, clientId) => lastDelivered(this.#parts.store.rows, user, clientId),
      held: () => this.#parts.committer.holdsWrites,
      owed: () => (this.#opened instanceof RockpoolError ? [] : this.#state.get('owedWrites')),
      setOwed: (owed) => this.#state.set('owedWrites', [...owed]),
    })
    // The alarm that stands after a session which died is the guard's, which is far away.
    if (this.#opened instanceof RockpoolError) {
      void ctx.storage.setAlarm(Date.now() + REFUSED_MS)
      return
    }
    this.#parts.fencing.onAnswer(() => void this.#arm())
    const died = this.#state.get('running')
    if (died?.alive) void ctx.storage.setAlarm(Math.max(Date.now(), died.until))
  }

  get #tenant(): OwnTenant {
    return tenantOfObject(this.env, this.#name)
  }

  /** Throws ROCKPOOL_STORAGE_NEWER. */
  get #parts(): Wired {
    if (this.#opened instanceof RockpoolError) throw this.#opened
    return this.#opened
  }

  get #state(): StateStore {
    return this.#parts.store.state
  }

  get #admin(): Admin {
    const { store, deploys, openStreams } = this.#parts
    return (this.#made ??= new Admin({
      store,
      deploys,
      openStreams,
      settings: () => this.#settings(),
      connected: (work) => this.#connected(work),
      begin: () => this.#begin(),
      waitingFor: () => this.#session?.status().waitingFor ?? null,
    }))
  }

  async attach(request: Versioned & { relay: string }): Promise<void> {
    checkVersion(request)
    if (!request.relay.startsWith(`${this.#tenant.name}/`)) throw new RockpoolError('ROCKPOOL_INTERNAL', 'a relay of another tenant')
    await asyncFaultPoint('replicator.attach')
    this.#parts.relays.attach(request.relay)
    await this.#arm()
  }

  async committed(request: Versioned & { bucket?: string }): Promise<Serving> {
    checkVersion(request)
    if (request.bucket !== undefined) this.#refuseFenced(request.bucket)
    return this.#parts.store.serving
  }

  async watch(request: Versioned & { bucket: string }): Promise<Serving> {
    checkVersion(request)
    this.#refuseFenced(request.bucket)
    const serving = this.#parts.watchers.watch(request.bucket)
    await this.#arm()
    return serving
  }

  async left(request: Versioned & { bucket: string }): Promise<void> {
    checkVersion(request)
    this.#parts.watchers.left(request.bucket)
  }

  #refuseFenced(bucket: string): void {
    if (!this.#parts.store.isFenced(bucket)) return
    throw new RockpoolError('ROCKPOOL_BUCKET_FENCED', 'the bucket lacks changes, which come later: connect again in a while')
  }

  async plan(request: Versioned & { hash: string }): Promise<string | null> {
    checkVersion(request)
    return this.#parts.store.plans.text(request.hash)
  }

  async writeCheckpoint(request: Versioned & { user: string; clientId: string }): Promise<{ writeCheckpoint: string }> {
    checkVersion(request)
    const writeCheckpoint = await this.#writes.request(request.user, request.clientId)
    await asyncFaultPoint('replicator.write')
    await this.#arm()
    return { writeCheckpoint }
  }

  async checkpointRequest(request: Versioned & { user: string; clientId: string; id: string }): Promise<{ id: string }> {
    checkVersion(request)
    const id = await this.#writes.request(request.user, request.clientId, BigInt(request.id))
    await this.#arm()
    return { id }
  }

  /** The cron trigger. An alarm that stands is left as it is, so that a back-off is shortened by nothing but other settings. */
  async wake(request: Versioned): Promise<void> {
    checkVersion(request)
    if (this.#session !== null) return
    // The alarm that stands after a session which died may be the guard's, which is far away.
    const died = this.#state.get('running')
    const alarm = await this.ctx.storage.getAlarm()
    const failed = this.#state.get('failing')?.settings
    const repaired = failed !== undefined && failed !== (await this.#version(failed))
    const due = died?.alive && !this.#began ? Math.max(Date.now(), died.until) : repaired ? Date.now() : null
    if (alarm === null || (due !== null && alarm > due)) await this.ctx.storage.setAlarm(due ?? Date.now())
  }

  async stopping(request: Versioned): Promise<void> {
    checkVersion(request)
    const state = this.#state
    const running = state.get('running')
    // In a crash loop it stays, so that the next session is as careful.
    if (this.#session && running?.starts === 1 && running.care === 0) state.set('running', null)
    // Whoever starts again begins with a session: the alarm that stands may be the guard's.
    await this.ctx.storage.setAlarm(Date.now() + STOPPING_MS)
    await this.ctx.storage.sync()
  }

  async deploy(request: DeployRequest): Promise<DeployAnswer> {
    checkVersion(request)
    return this.#admin.deploy(request)
  }

  async rollback(request: Versioned & { dryRun: boolean; by?: string; to?: number }): Promise<RollbackAnswer> {
    checkVersion(request)
    return this.#admin.rollback(request)
  }

  async withdraw(request: Versioned & { number: number; by: string }): Promise<ConfigsAnswer> {
    checkVersion(request)
    return this.#admin.withdraw(request)
  }

  async configs(request: Versioned): Promise<ConfigsAnswer> {
    checkVersion(request)
    return this.#admin.answer()
  }

  async verify(request: Versioned & { repair: boolean; by?: string }): Promise<VerifyAnswer> {
    checkVersion(request)
    this.#parts.verification.start(request.repair, request.by)
    await this.#arm()
    return this.#parts.verification.answer(this.#verifyWaits())
  }

  async verification(request: Versioned): Promise<VerifyAnswer> {
    checkVersion(request)
    return this.#parts.verification.answer(this.#verifyWaits())
  }

  async cancelVerify(request: Versioned): Promise<VerifyAnswer> {
    checkVersion(request)
    this.#parts.verification.cancel()
    return this.#parts.verification.answer(null)
  }

  /** `look`: the source is looked at now, for an operator. Nothing is woken or armed by that. */
  async status(request: Versioned & { look?: boolean }): Promise<ReplicatorStatus> {
    checkVersion(request)
    if (request.look) this.#looked = await this.#look()
    return replicatorStatus({
      tenant: this.#tenant.name,
      ...(await this.#sourceOf()),
      parts: this.#parts,
      live: this.#live,
      session: this.#session?.status() ?? null,
      sessions: this.#sessions,
      peakHeld: this.#peakHeld,
      looked: this.#looked,
      fresh: request.look === true,
      failing: this.#state.get('failing') ?? this.#crashed(),
      alarm: this.#session ? null : await this.ctx.storage.getAlarm(),
      deploy: this.#admin.status(),
      verify: this.#parts.verification.status(this.#verifyWaits()),
    })
  }

  /** The version of its settings; `otherwise` when the directory does not say: an alarm is armed whether it answers or not. */
  async #version(otherwise: string): Promise<string> {
    try {
      return (await this.#tenant.find()).version
    } catch {
      return otherwise
    }
  }

  /** Throws ROCKPOOL_SETTINGS. */
  async #settings(): Promise<ReplicationSettings> {
    return (await this.#tenant.find()).replication
  }

  /** `source` is null when a setting is wrong: sessions are refused for that, and a look is. */
  async #sourceOf(): Promise<Pick<StatusPorts, 'kind' | 'source'>> {
    try {
      const url = await this.#tenant.secret('source.url')
      return { kind: kindOf(url, this.env), source: { settings: await this.#settings(), url } }
    } catch {
      return { kind: FIRST_KIND, source: null }
    }
  }

  readonly #look = oneAtATime(async (): Promise<Looked> => {
    const began = Date.now()
    const before = this.#known()
    const [facts, streams] = await Promise.all([this.#sourceFacts(), this.#parts.openStreams(LOOK_MS)])
    const look = lookOf({
      ...(facts instanceof RockpoolError ? { facts, problem: null } : this.#judged(facts, before)),
      began,
      ended: Date.now(),
    })
    return { look, facts: facts instanceof RockpoolError ? null : facts.facts, streams }
  }, LOOK_FRESH_MS)

  #judged({ facts, kind }: Found, before: Known): { facts: SourceFacts; problem: SourceProblem | null } {
    const { store } = this.#parts
    const settled = isSettled(before, this.#known())
    return { facts, problem: facts.problem(keptIdentity(kind, store), streamedTo(kind, store), settled) }
  }

  #known(): Known {
    return { position: this.#state.get('decode').position, session: this.#session !== null }
  }

  async #sourceFacts(): Promise<Found | RockpoolError> {
    try {
      return await this.#connected(async ({ kind, source, call }) => ({ kind, facts: await source.look(call()) }), LOOK_MS)
    } catch (error) {
      return known(error)
    }
  }

  /**
   * The poll session lives inside the alarm: a TCP socket held outside an event is cut 140 s after the object's last one. Armed again first,
   * so that whatever happens another one follows.
   */
  override async alarm(): Promise<void> {
    // Newer code starts the object anew when it comes, and goes on with its first alarm.
    if (this.#opened instanceof RockpoolError) return this.ctx.storage.setAlarm(Date.now() + REFUSED_MS)
    // Not armed again: what the settings name goes on with the database. Settings that name this one again wake it.
    if (isElsewhere(this.env, this.ctx.id)) return
    const before = this.#state.get('running')
    if (!this.#began && before?.alive && Date.now() < before.until) {
      await this.ctx.storage.setAlarm(before.until)
      return
    }
    await this.ctx.storage.setAlarm(Date.now() + GUARD_MS)
    if (this.#session) return
    const { store, watchers } = this.#parts
    askFollowers(store, watchers)
    if (!this.#began && before?.alive) store.diagnostics.add({ code: 'ROCKPOOL_RESTARTED', reason: ENDED })
    this.#attempt(before)
    let next: number
    let faulty = false
    let tenant: Tenant | null = null
    this.#again = false
    try {
      tenant = await this.#tenant.find()
      next = await this.#run(tenant)
    } catch (error) {
      const failure = known(error)
      faulty = failure.code === 'ROCKPOOL_INTERNAL'
      next = this.#failed(failure, tenant?.version ?? '')
    } finally {
      this.#ended(faulty)
    }
    await this.ctx.storage.setAlarm(Date.now() + next)
  }

  /** What a session leaves that is killed; stored before it begins. */
  #attempt(before: Start | null): void {
    const { store, resetReason } = this.#parts
    const { state, tables } = store
    const { position, partial } = state.get('decode')
    const stream = JSON.stringify([position, partial])
    const reason = this.#began ? (before?.reason ?? null) : before?.alive ? (resetReason ?? ENDED) : null
    const attempt = nextAttempt(before, { stream, copy: tables.place, now: Date.now(), reason })
    this.#began = true
    this.#progressed = false
    state.set('running', attempt)
  }

  /** The replicator was ended in sessions again and again, or just now, and nothing was done since then. */
  #crashed(): State['failing'] {
    const running = this.#state.get('running')
    if (running === null) return null
    const dead = running.alive && !this.#began
    const failures = dead ? running.starts : running.starts - 1
    if (failures === 0 || (!dead && this.#progressed)) return null
    const message = (dead ? this.#parts.resetReason : running.reason) ?? ENDED
    return { failures, code: 'ROCKPOOL_INTERNAL', message: `the replicator was ended in the middle of a session: ${message}` }
  }

  /** One session; answers after how long the next one follows. A session that does not even end is given up: the next one finds the alarm free. */
  async #run({ replication: settings }: Tenant): Promise<number> {
    const url = await this.#tenant.secret('source.url')
    return answered((attempt) => this.#runSession(settings, url, attempt), alarmMs(settings))
  }

  async #runSession(settings: ReplicationSettings, url: string, attempt: Attempt): Promise<number> {
    const state = this.#state
    await asyncFaultPoint('replicator.alarm')
    if (attempt.expired) throw new Error('the alarm was given up')
    // What kills is among what had been taken in by then.
    this.#parts.care.begin(state.get('running')?.care ?? 0, CAREFUL_SLICES * settings.sliceChanges)
    const session = new Session(this.#parts, settings, {
      url,
      kind: kindOf(url, this.env),
      live: () => this.#live,
      progress: () => this.#progress(),
      settled: () => this.#writes.repeat(),
      durable: () => this.ctx.storage.sync(),
    })
    this.#session = session
    this.#sessions++
    const end = await session.run()
    if (session.hasStoredChanges && state.get('idlePolls') > 0) state.set('idlePolls', 0)
    if (end === 'restart' || this.#again || this.#live) return 0
    const polls = state.get('idlePolls')
    state.set('idlePolls', polls + 1)
    return idleWaitMs(polls, settings, session.expiresMs)
  }

  /** `faulty`: by an error of ours, which may be one of the change that is next. */
  #ended(faulty: boolean): void {
    const { state, diagnostics } = this.#parts.store
    this.#peakHeld = Math.max(this.#peakHeld, this.#session?.peakHeld ?? 0)
    this.#session?.abandon()
    this.#session = null
    const running = state.get('running')
    state.set('running', faulty && running ? { ...running, alive: false } : null)
    diagnostics.flush()
  }

  #progress(): void {
    this.#progressed = true
    if (this.#state.get('failing') !== null) this.#state.set('failing', null)
  }

  /** `version`: of the settings that it failed with. */
  #failed({ code, message }: RockpoolError, version: string): number {
    const { state, diagnostics } = this.#parts.store
    diagnostics.add({ code, reason: message })
    // What we know of the stream does not fit what it says: compare everything.
    if (code === 'ROCKPOOL_SOURCE_CHANGED') resync(this.#parts, message)
    const failures = (state.get('failing')?.failures ?? 0) + 1
    state.set('failing', { failures, code, message, settings: version })
    return retryWaitMs(failures)
  }

  /** A session now, unless there is one; one that just failed keeps its back-off. */
  async #arm(): Promise<void> {
    if (this.#session) {
      if (this.#session.requestCatchUp() === 'closing') this.#again = true
      return
    }
    const state = this.#state
    // The alarm stands that the back-off has set.
    if (state.get('failing') !== null || state.get('running') !== null) return
    const alarm = await this.ctx.storage.getAlarm()
    if (alarm === null || alarm > Date.now()) await this.ctx.storage.setAlarm(Date.now())
  }

  /** A session that begins anew, whatever back-off there is. */
  async #begin(): Promise<void> {
    if (this.#session) {
      this.#session.restart()
      this.#again = true
    } else {
      const state = this.#state
      const died = state.get('running')
      if (died) state.set('running', { ...died, until: 0 })
      await this.ctx.storage.setAlarm(Date.now())
    }
  }

  async #emit(content: string): Promise<void> {
    try {
      await this.#connected(({ source, call }) => source.mark(this.#parts.marks.sign(content), call()))
    } catch (error) {
      // The client is told no more than that: what the database says is for operators.
      this.#parts.store.diagnostics.add({
        code: 'ROCKPOOL_WRITE_CHECKPOINT',
        reason: error instanceof Error ? error.message : String(error),
      })
      throw error
    }
  }

  /** With the session's connection, or one of its own. Throws ROCKPOOL_SOURCE_UNREACHABLE. */
  async #connected<T>(work: (access: SourceAccess) => Promise<T>, deadlineMs = callDeadline(this.env)): Promise<T> {
    const { store } = this.#parts
    const call = () => ({ signal: new AbortController().signal, deadlineMs: Math.max(deadlineMs, callDeadline(this.env)) })
    const url = await this.#tenant.secret('source.url')
    const kind = kindOf(url, this.env)
    const open = this.#session?.source
    if (open) {
      try {
        return await this.#inTime(() => work({ kind, source: open, call }), deadlineMs)
      } catch (error) {
        if (this.#session?.source === open) throw error
        // The session has ended meanwhile, and its connection with it. Whatever is asked here may be asked twice.
      }
    }
    const settings = await this.#settings()
    const source = kind.connect({ url, settings, clientName: clientName(store), identity: keptIdentity(kind, store) })
    try {
      return await this.#inTime(() => work({ kind, source, call }), deadlineMs)
    } finally {
      await source.close(CLOSE_MS)
    }
  }

  /** A source that answers nothing any more: whoever asks for a write checkpoint waits for it. A question that is given up does not end the session. */
  async #inTime<T>(work: () => Promise<T>, deadlineMs: number): Promise<T> {
    try {
      return await answered(work, deadlineMs)
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error
      throw new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', `Postgres did not answer for ${deadlineMs / 1_000} s`, { cause: error })
    }
  }

  /** Somebody is connected: the tenant is followed live. */
  get #live(): boolean {
    const { relays, watchers } = this.#parts
    return relays.size > 0 || watchers.size > 0
  }

  /** What keeps a comparison from going on. */
  #verifyWaits(): string | null {
    const { state, tables, configs } = this.#parts.store
    const failing = state.get('failing')
    if (failing) return `Postgres: ${failing.message}`
    if (configs.next !== null) return 'a deploy'
    if (tables.copying) return 'tables that are copied'
    const session = this.#session?.status()
    return session?.streaming ? session.waitingFor : 'a session with Postgres'
  }
}

/** The error is answered when newer code has written the storage; any other is thrown. */
function opened(open: () => Wired): Wired | RockpoolError {
  try {
    return open()
  } catch (error) {
    if (error instanceof RockpoolError && error.code === 'ROCKPOOL_STORAGE_NEWER') return error
    throw error
  }
}

function known(error: unknown): RockpoolError {
  if (error instanceof RockpoolError) return error
  return new RockpoolError('ROCKPOOL_INTERNAL', error instanceof Error ? error.message : String(error), { cause: error })
}
