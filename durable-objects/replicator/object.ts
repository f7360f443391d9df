import { DurableObject } from 'cloudflare:workers'
import { connectSource, emitMarker, parseLsn } from '../../postgres/index.ts'
import { openSocket } from '../../postgres/socket.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import type { ReplicatorRpc, ReplicatorState, ReplicatorStatus, Serving, Versioned } from '../../protocol/messages.ts'
import { tenantSettings } from '../directory/settings.ts'
import type { Environment } from '../environment.ts'
import { checkVersion } from '../version.ts'
import { Core } from './core.ts'
import { markerPrefix, Session } from './session.ts'
import { WriteCheckpoints } from './write-checkpoints.ts'

const FIRST_RETRY_MS = 500
const MAX_RETRY_MS = 60_000
/** Nobody is connected: the pause between polls, doubled while they find nothing. */
const IDLE_MS = 60_000
const MAX_IDLE_MS = 4 * 3_600_000
/** Alarms are dropped after six failures; this one stands in case the session ends in a way that arms none. */
const GUARD_MS = 20 * 60_000

/** One tenant's replicator: wires storage, session, relays and RPC. What they decide is in the modules beside it. */
export class Replicator extends DurableObject<Environment> implements ReplicatorRpc {
  readonly #core: Core
  readonly #tenant: string
  readonly #writes: WriteCheckpoints
  #session: Session | null = null
  #failures = 0
  #error: RockpoolError | null = null
  #peakHeld = 0
  #refusedTables: ReplicatorStatus['refusedTables'] = []

  constructor(ctx: DurableObjectState, env: Environment) {
    super(ctx, env)
    this.#tenant = ctx.id.name ?? ''
    this.#core = new Core(ctx, env, this.#tenant)
    this.#writes = new WriteCheckpoints({
      emit: (content) => this.#emit(content),
      issued: () => this.#core.state.get('issued'),
      setIssued: (upTo) => this.#core.state.set('issued', upTo),
    })
  }

  async attach(request: Versioned & { relay: string }): Promise<void> {
    checkVersion(request)
    if (!request.relay.startsWith(`${this.#tenant}/`)) throw new RockpoolError('ROCKPOOL_INTERNAL', 'a relay of another tenant')
    this.#core.relays.attach(request.relay)
    await this.#arm()
  }

  async committed(request: Versioned): Promise<Serving> {
    checkVersion(request)
    return this.#core.serving
  }

  async watch(request: Versioned & { bucket: string }): Promise<Serving> {
    checkVersion(request)
    const serving = this.#core.watchers.watch(request.bucket)
    await this.#arm()
    return serving
  }

  async plan(request: Versioned & { hash: string }): Promise<string | null> {
    checkVersion(request)
    return this.#core.plans.text(request.hash)
  }

  async writeCheckpoint(request: Versioned & { user: string; clientId: string }): Promise<{ writeCheckpoint: string }> {
    checkVersion(request)
    const writeCheckpoint = await this.#writes.request(request.user, request.clientId)
    await this.#arm()
    return { writeCheckpoint }
  }

  async wake(request: Versioned): Promise<void> {
    checkVersion(request)
    if (this.#session !== null) return
    // The alarm that stands behind a crash is the guard's, which is far away.
    const crashed = this.#core.state.get('running') && this.#failures === 0
    if (crashed || (await this.ctx.storage.getAlarm()) === null) await this.ctx.storage.setAlarm(Date.now())
  }

  async status(request: Versioned): Promise<ReplicatorStatus> {
    checkVersion(request)
    const { tables, state, relays, pipeline, dispatcher, skipped } = this.#core
    const position = state.get('decode').position
    const walEnd = this.#session?.walEnd ?? null
    const copying = tables.copying
    const { committed, plan } = state.get('commit')
    return {
      tenant: this.#tenant,
      state: this.#state(copying),
      checkpoint: committed,
      plan,
      lsn: position?.lsn ?? null,
      lagBytes: walEnd === null || position === null ? null : Math.max(0, Number(walEnd - parseLsn(position.lsn))),
      lastCommit: position?.time ?? null,
      copy: copying ? { tables: tables.status(), waitingFor: this.#session?.waitingFor ?? null } : null,
      relays: relays.size,
      pendingBatches: pipeline.size,
      failingBuckets: dispatcher.failing,
      refusedTables: this.#session?.refusedTables ?? this.#refusedTables,
      skippedRows: skipped.status(),
      held: {
        changes: this.#session?.held ?? 0,
        peakChanges: Math.max(this.#peakHeld, this.#session?.peakHeld ?? 0),
        sending: pipeline.length,
        peakSending: pipeline.peakLength,
      },
      error: this.#error && { code: this.#error.code, message: this.#error.message },
    }
  }

  /**
   * The poll session lives inside the alarm: a TCP socket held outside an event is cut 140 s after the object's last one. Armed again first,
   * so that whatever happens another one follows.
   */
  override async alarm(): Promise<void> {
    await this.ctx.storage.setAlarm(Date.now() + GUARD_MS)
    if (this.#session) return
    // Those that nobody follows any more say so, and are forgotten.
    this.#core.watchers.publishAll()
    this.#core.state.set('running', true)
    let next: number
    try {
      const session = new Session(this.#core, tenantSettings(this.env, this.#tenant), () => this.#core.live)
      this.#session = session
      const again = await session.run()
      this.#failures = 0
      this.#error = null
      if (session.found) this.#core.state.set('idlePolls', 0)
      next = again || this.#core.live ? 0 : this.#idleMs()
    } catch (error) {
      this.#error = known(error)
      console.warn(`session ended: ${this.#error.code} ${this.#error.message}`)
      // What we know of the stream does not fit what it says: compare everything.
      if (this.#error.code === 'ROCKPOOL_SOURCE_CHANGED') this.#session?.resync()
      next = Math.min(FIRST_RETRY_MS * 2 ** Math.min(this.#failures++, 20), MAX_RETRY_MS) * (0.75 + Math.random() / 2)
    } finally {
      this.#peakHeld = Math.max(this.#peakHeld, this.#session?.peakHeld ?? 0)
      this.#refusedTables = this.#session?.refusedTables ?? []
      this.#session = null
      this.#core.state.set('running', false)
    }
    await this.ctx.storage.setAlarm(Date.now() + next)
  }

  #idleMs(): number {
    const polls = this.#core.state.get('idlePolls')
    this.#core.state.set('idlePolls', polls + 1)
    return Math.min(IDLE_MS * 2 ** Math.min(polls, 20), MAX_IDLE_MS)
  }

  /** A session now, unless there is one; one that just failed keeps its back-off. */
  async #arm(): Promise<void> {
    if (this.#session || this.#failures > 0) return
    const alarm = await this.ctx.storage.getAlarm()
    if (alarm === null || alarm > Date.now()) await this.ctx.storage.setAlarm(Date.now())
  }

  async #emit(content: string): Promise<void> {
    const settings = tenantSettings(this.env, this.#tenant)
    const open = this.#session?.sql
    if (open) return emitMarker(open, markerPrefix(settings), content)
    const sql = connectSource(settings.databaseUrl, { socket: openSocket, max: 1 })
    try {
      await emitMarker(sql, markerPrefix(settings), content)
    } finally {
      await sql.end({ timeout: 1 })
    }
  }

  #state(copying: boolean): ReplicatorState {
    const code = this.#error?.code
    if (code === 'ROCKPOOL_SETTINGS' || code === 'ROCKPOOL_SYNC_CONFIG' || code === 'ROCKPOOL_SOURCE_SETTINGS') return 'refused'
    if (code !== undefined) return 'retrying'
    if (!this.#session) return this.#core.state.get('source') === null ? 'starting' : 'idle'
    return copying ? 'copying' : 'live'
  }
}

function known(error: unknown): RockpoolError {
  if (error instanceof RockpoolError) return error
  return new RockpoolError('ROCKPOOL_INTERNAL', error instanceof Error ? error.message : String(error), { cause: error })
}
