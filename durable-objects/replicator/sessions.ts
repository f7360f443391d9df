import { RockpoolError } from '../../protocol/errors.ts'
import { SPENDING_RETRY_MS } from '../../protocol/spending.ts'
import type { SourceKind } from '../../sources/source.ts'
import type { OwnTenant } from '../../tenants/of-object.ts'
import type { ReplicationSettings } from '../../tenants/replication.ts'
import type { Tenant } from '../../tenants/tenant.ts'
import { asyncFaultPoint } from '../shared/fault-points.ts'
import { answered, type Attempt as CallAttempt } from '../shared/retry.ts'
import { knownError } from './known-error.ts'
import { askFollowers } from './commit/followers.ts'
import type { CurrentSession } from './current-session.ts'
import type { Parts } from './parts.ts'
import { nextAttempt, type Attempt } from './session/attempts.ts'
import { alarmMs } from './session/deadlines.ts'
import type { FormerSources } from './session/former-sources.ts'
import { resync } from './session/prepare.ts'
import { PAUSED_CHECKS } from './session/paused.ts'
import { idleWaitMs, retryWaitMs } from './session/schedule.ts'
import { Session } from './session/session.ts'
import type { State } from './store/storage.ts'
import type { Paused } from './store/stored.ts'
import type { Usage } from './usage.ts'

/**
 * The platform drops an alarm after six failures (2026-11), so another one is armed for the case that a session ends in
 * a way that arms none.
 */
const GUARD_MS = 20 * 60_000
/** How much later than it is due something may be heard of a replicator. */
const LATE_MS = 60_000
/** By then the process that said it is stopping has ended. */
const STOPPING_MS = 5_000
/** The number of slices that may have been held when a session was killed. */
const CAREFUL_SLICES = 2
const ENDED = 'a deploy, an eviction or a fault ended the replicator in the middle of a session'

/** The alarm of the object, in ms since 1970, and its storage. */
export interface AlarmStorage {
  getAlarm(): Promise<number | null>
  setAlarm(at: number): Promise<void>
  deleteAlarm(): Promise<void>
  /** Resolves when everything written so far is durable. */
  sync(): Promise<void>
}

export interface SessionsPorts {
  parts: Parts
  current: CurrentSession
  usage: Pick<Usage, 'begin' | 'beginStored' | 'sessionBegan' | 'sessionEnded' | 'paused' | 'today' | 'allow'>
  /** Measures what the source keeps while there are no sessions, since a time in ms since 1970. */
  look(since: number): Promise<unknown>
  storage: AlarmStorage
  /** Why the last incarnation was ended, or null when that is not known. */
  resetReason: string | null
  tenant(): OwnTenant
  kindOf(url: string): SourceKind<ReplicationSettings>
  /** Returns whether the settings name another replicator than this one. */
  isElsewhere(): boolean
  /** Returns whether a client is connected. */
  isLive(): boolean
  former: Pick<FormerSources, 'leave'>
  /** A session has taken in what is new, and nothing is being compared. */
  settled(): Promise<void>
}

/**
 * When sessions run. Each lives inside an alarm: a TCP socket that is held outside an event is cut 140 s after the last
 * event of the object (Cloudflare, 2026-11). The next one follows at once while clients are connected, after a back-off
 * when one has failed, and after a pause that doubles while polls find nothing. The file is long because it has
 * everything that decides when the alarm fires.
 */
export class Sessions {
  readonly #ports: SessionsPorts
  /** An alarm has begun a session in this incarnation, or tried to. */
  #hasBegun = false
  /** The last session has got something done. */
  #hasProgressed = false
  /** Another session was requested while the last one was ending. */
  #runAgain = false
  #count = 0
  /** The version of the settings of the session that is under way, or was last. */
  #version: string | null = null
  #peakHeld = 0
  /** When what the source keeps was last measured without a session, in ms since 1970. */
  #looked = 0
  /** When something is heard next, as was last said, in ms since 1970. */
  #dueAt = 0

  constructor(ports: SessionsPorts) {
    this.#ports = ports
  }

  /** The object starts. After a crash only the guard alarm is armed, which is minutes away. */
  start(): void {
    const died = this.#state.get('running')
    const isActive = this.#state.get('standing') === 'active'
    if (died?.alive && isActive) void this.#ports.storage.setAlarm(Math.max(Date.now(), died.until))
  }

  /** Sessions of this incarnation. */
  get count(): number {
    return this.#count
  }

  /** The most changes that one of them held in memory. */
  get peakHeld(): number {
    return Math.max(this.#peakHeld, this.#ports.current.session?.peakHeld ?? 0)
  }

  /** Why sessions fail, or end the object; null when they do not, or when none was tried. */
  get failing(): State['failing'] {
    return this.#state.get('failing') ?? this.#crashed()
  }

  /** Returns when the next session begins, in ms since 1970; null when one is under way, or when none is planned. */
  async next(): Promise<number | null> {
    return this.#ports.current.session ? null : this.#ports.storage.getAlarm()
  }

  /**
   * The cron trigger, or somebody who has changed the tenant. An alarm that is set stays as it is: a back-off is
   * shortened only by other settings, or when a crash left the guard alarm alone. A session with older settings ends.
   */
  async wake(): Promise<void> {
    const { current, storage } = this.#ports
    if (current.session !== null) {
      const known = this.#version
      if (known !== null && known !== (await this.#settingsVersion(known))) await this.restart()
      return
    }
    // It may be allowed more by now.
    if (this.#ports.usage.paused !== null) return storage.setAlarm(Date.now())
    const died = this.#state.get('running')
    const alarm = await storage.getAlarm()
    const failed = this.#state.get('failing')?.settings
    const isRepaired = failed !== undefined && failed !== (await this.#settingsVersion(failed))
    const due = died?.alive && !this.#hasBegun ? Math.max(Date.now(), died.until) : isRepaired ? Date.now() : null
    if (alarm === null || (due !== null && alarm > due)) await storage.setAlarm(due ?? Date.now())
  }

  /** The process is about to end on purpose: a session that is under way has not crashed by that. */
  async stopping(): Promise<void> {
    const { current, storage } = this.#ports
    const running = this.#state.get('running')
    // In a crash loop it stays, so that the next session is as careful.
    if (current.session && running?.starts === 1 && running.care === 0) this.#state.set('running', null)
    // The next process begins with a session: the alarm that is set may be the guard's.
    await storage.setAlarm(Date.now() + STOPPING_MS)
    await storage.sync()
  }

  /**
   * A session runs now, or what is committed by now comes in the one that is under way. One that just failed keeps its
   * back-off.
   */
  async arm(): Promise<void> {
    const { current, storage } = this.#ports
    if (current.session) {
      if (current.session.requestCatchUp() === 'closing') this.#runAgain = true
      return
    }
    if (this.#ports.usage.paused !== null) return
    // The back-off has set an alarm.
    if (this.#state.get('failing') !== null || this.#state.get('running') !== null) return
    const alarm = await storage.getAlarm()
    if (alarm === null || alarm > Date.now()) await storage.setAlarm(Date.now())
  }

  /** A new session begins, whatever back-off there is. */
  async restart(): Promise<void> {
    const { current, storage } = this.#ports
    if (current.session) {
      current.session.restart()
      this.#runAgain = true
      return
    }
    const died = this.#state.get('running')
    if (died) this.#state.set('running', { ...died, until: 0 })
    await storage.setAlarm(Date.now())
  }

  /** Runs a session. Another alarm is armed first, so that whatever happens a session follows. */
  async alarm(): Promise<void> {
    const { parts, current, storage, tenant, isElsewhere } = this.#ports
    // Not armed again: the replicator that the settings name continues with the database. Settings that name this one
    // again wake it.
    if (isElsewhere()) return
    const before = this.#state.get('running')
    if (!this.#hasBegun && before?.alive && Date.now() < before.until) {
      await storage.setAlarm(before.until)
      return
    }
    await storage.setAlarm(Date.now() + GUARD_MS)
    if (current.session) return
    const { store, watchers } = parts
    askFollowers(store, watchers)
    if (!this.#hasBegun && before?.alive) store.diagnostics.add({ code: 'ROCKPOOL_RESTARTED', reason: ENDED })
    this.#noteAttempt(before)
    let waitMs: number
    let isFaulty = false
    let found: Tenant | null = null
    this.#runAgain = false
    try {
      found = await tenant().find()
      const paused = this.#ports.usage.begin(found.budget) ?? (await this.#ports.usage.beginStored())
      if (paused === null) this.#due(alarmMs(found.replication))
      waitMs = paused === null ? await this.#run(found) : await this.#pausedMs(paused, found)
    } catch (error) {
      const failure = knownError(error)
      isFaulty = failure.code === 'ROCKPOOL_INTERNAL'
      waitMs = this.#failed(failure, found?.version ?? '')
      // A tenant that the Directory does not know, or not as active, has no next session before somebody wakes it.
      if (failure.code === 'ROCKPOOL_TENANT') waitMs = Infinity
    } finally {
      this.#ended(isFaulty)
    }
    if (waitMs === Infinity) return storage.deleteAlarm()
    await storage.setAlarm(Date.now() + waitMs)
    this.#due(waitMs)
  }

  /** Something is heard of this replicator within so many ms, or the cron trigger wakes it. */
  #due(ms: number): void {
    this.#dueAt = Date.now() + ms + LATE_MS
    this.report()
  }

  /** The Directory is told what was used, and when something is heard next. Its answer may pause this tenant. */
  report(): void {
    this.#reported().catch((error: unknown) => console.warn('what the Directory allows could not be done', error))
  }

  async #reported(): Promise<void> {
    const { tenant, usage, current, storage } = this.#ports
    const allowed = await tenant().heard(this.#dueAt, usage.today)
    const change = allowed && usage.allow(allowed)
    if (change === 'paused') current.session?.restart()
    if (change === 'resumed') await storage.setAlarm(Date.now())
  }

  get #state(): Parts['store']['state'] {
    return this.#ports.parts.store.state
  }

  /**
   * Returns the version of the settings, or `otherwise` when the directory does not answer: the alarm is armed in any
   * case.
   */
  async #settingsVersion(otherwise: string): Promise<string> {
    try {
      return (await this.#ports.tenant().find()).version
    } catch {
      return otherwise
    }
  }

  /** Stores before a session begins what is known of it if it is killed. */
  #noteAttempt(before: Attempt | null): void {
    const { parts, resetReason } = this.#ports
    const { state, tables } = parts.store
    const { position, partial } = state.get('decode')
    const stream = JSON.stringify([position, partial])
    const reason = this.#hasBegun ? (before?.reason ?? null) : before?.alive ? (resetReason ?? ENDED) : null
    const attempt = nextAttempt(before, { stream, copy: tables.place, now: Date.now(), reason })
    this.#hasBegun = true
    this.#hasProgressed = false
    state.set('running', attempt)
  }

  /**
   * Returns how the object was ended in sessions, again and again or just now, without any progress since then; null
   * when it was not.
   */
  #crashed(): State['failing'] {
    const running = this.#state.get('running')
    if (running === null) return null
    const isDead = running.alive && !this.#hasBegun
    const failures = isDead ? running.starts : running.starts - 1
    if (failures === 0 || (!isDead && this.#hasProgressed)) return null
    const reason = isDead ? this.#ports.resetReason : running.reason
    return { failures, code: 'ROCKPOOL_INTERNAL', message: reason ? `${ENDED}: ${reason}` : ENDED }
  }

  /**
   * One session. Returns after how many milliseconds the next one follows. A session that does not even end is given
   * up, so that the next one finds the alarm free.
   */
  async #run(tenant: Tenant): Promise<number> {
    const url = await this.#ports.tenant().secret('source.url')
    return answered((attempt) => this.#runSession(tenant, url, attempt), alarmMs(tenant.replication))
  }

  async #runSession(tenant: Tenant, url: string, attempt: CallAttempt): Promise<number> {
    const { replication: settings, version } = tenant
    const { parts, current, storage, kindOf, isLive, settled, former } = this.#ports
    const state = this.#state
    await asyncFaultPoint('replicator.alarm')
    if (attempt.expired) throw new Error('the alarm was given up')
    // A change that kills the object is among those that had been taken in by then.
    parts.care.begin(state.get('running')?.care ?? 0, CAREFUL_SLICES * settings.sliceChanges)
    const session = new Session(parts, settings, {
      url,
      kind: kindOf(url),
      live: isLive,
      leaveFormer: (source) => former.leave(tenant, source),
      progress: () => this.#progressed(),
      settled,
      durable: () => storage.sync(),
    })
    current.session = session
    this.#ports.usage.sessionBegan()
    this.#version = version
    this.#count++
    const end = await session.run()
    if (session.hasStoredChanges && state.get('idlePolls') > 0) state.set('idlePolls', 0)
    if (end === 'restart' || this.#runAgain || isLive()) return 0
    const polls = state.get('idlePolls')
    state.set('idlePolls', polls + 1)
    return idleWaitMs(polls, settings, session.expiresMs)
  }

  /**
   * The tenant has used what it may. What the source keeps is measured now and then. Returns after how many
   * milliseconds the next look follows.
   */
  async #pausedMs({ since, until }: Paused, { replication }: Tenant): Promise<number> {
    const everyMs = PAUSED_CHECKS * replication.walCheckSeconds * 1_000
    if (Date.now() - this.#looked >= everyMs) {
      await this.#ports.look(since)
      this.#looked = Date.now()
    }
    return Math.max(0, Math.min(until, this.#looked + everyMs) - Date.now())
  }

  #progressed(): void {
    this.#hasProgressed = true
    if (this.#state.get('failing') !== null) this.#state.set('failing', null)
  }

  /**
   * Returns after how many milliseconds the next session follows. `version` is that of the settings with which this one
   * failed.
   */
  #failed({ code, message }: RockpoolError, version: string): number {
    const { parts } = this.#ports
    const { state, diagnostics } = parts.store
    diagnostics.add({ code, reason: message })
    // What is stored of the stream does not fit what the stream says: everything is compared.
    if (code === 'ROCKPOOL_SOURCE_CHANGED') resync(parts, message)
    const failures = (state.get('failing')?.failures ?? 0) + 1
    state.set('failing', { failures, code, message, settings: version })
    return Math.max(code === 'ROCKPOOL_SPENDING' ? SPENDING_RETRY_MS : 0, retryWaitMs(failures))
  }

  /** `isFaulty`: by an error of ours, which may come from the change that is next. */
  #ended(isFaulty: boolean): void {
    const { parts, current } = this.#ports
    const { state, diagnostics } = parts.store
    this.#peakHeld = this.peakHeld
    current.session?.abandon()
    if (current.session !== null) this.#ports.usage.sessionEnded()
    current.session = null
    const running = state.get('running')
    state.set('running', isFaulty && running ? { ...running, alive: false } : null)
    diagnostics.flush()
  }
}
