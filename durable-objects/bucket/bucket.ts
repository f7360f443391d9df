import { DurableObject } from 'cloudflare:workers'
import { z } from 'zod'
import { MESSAGE_VERSION, type Versioned } from '../../protocol/versions.ts'
import type {
  AppendRequest,
  BucketRpc,
  BucketState,
  DigestAnswer,
  DigestRequest,
  EraseAnswer,
  IdleAnswer,
  PublishAnswer,
  ReadAnswer,
  RowsAnswer,
  StateAnswer,
} from '../../protocol/messages/bucket.ts'
import type { Checked, Serving } from '../../protocol/messages/replicator.ts'
import type { OpId } from '../../protocol/ops.ts'
import type { TokenMark, ToldRevocation } from '../../protocol/revocations.ts'
import { tenantOfObject, type OwnTenant } from '../../tenants/of-object.ts'
import { durableDatabase } from '../shared/durable-database.ts'
import type { Environment } from '../environment.ts'
import { enableFaults, asyncFaultPoint } from '../shared/fault-points.ts'
import { objectName } from '../shared/object-name.ts'
import { closeQuietly, sendQuietly, socketPair } from '../shared/sockets.ts'
import { placedAt, replicatorStub } from '../shared/namespaces.ts'
import { answered, callDeadline, untilAnswered } from '../shared/retry.ts'
import { sleep } from '../../protocol/sleep.ts'
import { checkVersion } from '../shared/version.ts'
import { directRequest } from './direct-request.ts'
import { directState, DirectStreams, type DirectState } from './direct.ts'
import { Log } from './log.ts'
import { Turns } from './turns.ts'

/** Limits of one alarm: UTF-16 units of pages read, and steps of compaction. The next alarm continues at once. */
const COMPACTION_LENGTH = 16 * 1024 * 1024
const COMPACTION_STEPS = 500
/**
 * A publication normally follows an append within milliseconds. When none has come after this time, the replicator has
 * died, or waits for another bucket.
 */
const OVERDUE_MS = 10_000
/**
 * Compactions in one isolate at a time. Each remembers up to 100,000 rows or 8 M characters of keys (`LogLimits`),
 * about 25 MB, and after a copy very many are due together.
 */
const COMPACTIONS = 2
const compactions = new Turns(COMPACTIONS)
/** A compaction that had to wait tries again after about this time. */
const TURN_MS = 10_000
const FIRST_WAIT_MS = 50
const MAX_WAIT_MS = 5_000
/** Failures in a row before one is logged: a replicator that is moved or restarted fails a few times. */
const ATTEMPTS_BEFORE_REPORT = 4

const attachment = directState.extend({ bucket: z.string() })
type Attachment = z.infer<typeof attachment>

/**
 * One bucket: its op log, and the sockets that follow it directly. Replies are sent when what was written is durable
 * (the platform's output gate). The one alarm serves compaction, tokens that expire and publications that are overdue,
 * whichever comes first. The file is long because it is the list of everything that can happen to the object: calls,
 * direct streams, alarms.
 */
export class Bucket extends DurableObject<Environment> implements BucketRpc {
  readonly log: Log
  readonly #direct: DirectStreams<WebSocket>
  readonly #tenant: OwnTenant
  #compactionMs = 0
  /** The time of the alarm that is set; null when there is none, undefined before it was looked up. */
  #alarm: number | null | undefined
  /**
   * The name of the bucket, from the request or the attachment of a direct stream. Only those need it, and the name of
   * the object may be a hash.
   */
  #name = ''

  constructor(ctx: DurableObjectState, env: Environment) {
    super(ctx, env)
    enableFaults(env.FAULTS)
    this.#tenant = tenantOfObject(env, objectName(ctx))
    this.log = new Log(durableDatabase(ctx.storage))
    // Nothing is delivered before the settings are known: appends and alarms depend on them.
    const settled = ctx.blockConcurrencyWhile(async () => {
      const { seconds, ...limits } = await this.#tenant.compaction()
      this.#compactionMs = seconds * 1_000
      this.log.limit(limits)
    })
    // The runtime rejects this call with the reason, and constructs the object again for the next one.
    settled.catch(() => {})
    this.#direct = new DirectStreams<WebSocket>(this.log, {
      send: sendQuietly,
      close: (socket, code, error) => {
        sendQuietly(socket, JSON.stringify({ error }))
        closeQuietly(socket, code, error.code)
      },
      save: (socket, state) => socket.serializeAttachment({ ...state, bucket: this.#name } satisfies Attachment),
      watch: (tokens, answer) => void this.#watch(tokens).then(answer, (error: unknown) => this.#refused(error)),
      now: () => Date.now() / 1_000,
    })
    const open = ctx.getWebSockets().flatMap((socket): [WebSocket, DirectState][] => {
      const attached = attachment.safeParse(socket.deserializeAttachment())
      if (!attached.success) return []
      const { bucket, ...state } = attached.data
      this.#name = bucket
      return [[socket, state]]
    })
    this.#direct.wake(open)
  }

  async append(request: AppendRequest): Promise<BucketState> {
    checkVersion(request)
    await asyncFaultPoint('bucket.append', { object: this.ctx, at: objectName(this.ctx) })
    const state = this.log.append(request)
    await asyncFaultPoint('bucket.appended', { object: this.ctx })
    if (this.log.worthCompacting) await this.#arm(this.#compactionMs * (1 + Math.random() / 2))
    if (this.#direct.size > 0) await this.#arm(OVERDUE_MS)
    await this.#armForHistory()
    return state
  }

  async state(request: Versioned & { checkpoint: OpId }): Promise<StateAnswer> {
    checkVersion(request)
    await asyncFaultPoint('bucket.state', { object: this.ctx })
    return this.log.stateAt(request.checkpoint)
  }

  async read(request: Versioned & { after: OpId; checkpoint: OpId; budget: number }): Promise<ReadAnswer> {
    checkVersion(request)
    await asyncFaultPoint('bucket.read', { object: this.ctx })
    const answer = this.log.read(request.after, request.checkpoint, request.budget)
    await this.#armForHistory()
    return answer
  }

  async rows(request: Versioned & { checkpoint: OpId; limit?: number }): Promise<RowsAnswer> {
    checkVersion(request)
    await asyncFaultPoint('bucket.rows', { object: this.ctx })
    return this.log.rows(request.checkpoint, request.limit)
  }

  async publish(request: Versioned & Serving): Promise<PublishAnswer> {
    checkVersion(request)
    return this.#direct.publish(request)
  }

  async remove(request: Versioned & { serial: OpId }): Promise<void> {
    checkVersion(request)
    this.log.remove(request.serial)
    this.#direct.close()
  }

  async idle(request: Versioned & { before: OpId }): Promise<IdleAnswer> {
    checkVersion(request)
    await asyncFaultPoint('bucket.idle', { object: this.ctx })
    return this.log.idle(request.before)
  }

  async size(request: Versioned): Promise<number> {
    checkVersion(request)
    return this.log.exists ? this.ctx.storage.sql.databaseSize : 0
  }

  async erase(request: Versioned & { upTo: OpId }): Promise<EraseAnswer> {
    checkVersion(request)
    await asyncFaultPoint('bucket.erase', { object: this.ctx })
    // A call that has begun continues while the gate closes (workerd 2026-11), so the log is checked after that, in the
    // same turn as the deletion.
    const erased = await this.ctx.blockConcurrencyWhile(async () => {
      if (this.log.last > request.upTo || this.#direct.size > 0) return false
      const deleted = [this.ctx.storage.deleteAlarm(), this.ctx.storage.deleteAll()]
      this.#alarm = null
      this.log.erased()
      await Promise.all(deleted)
      return true
    })
    return { erased }
  }

  async digest(request: DigestRequest): Promise<DigestAnswer> {
    checkVersion(request)
    await asyncFaultPoint('bucket.digest', { object: this.ctx })
    return this.log.digest(request)
  }

  async dismiss(request: Versioned): Promise<void> {
    checkVersion(request)
    await this.#dismissed()
  }

  async revoke(request: Versioned & ToldRevocation): Promise<number> {
    checkVersion(request)
    return this.#direct.revoked(request)
  }

  async mend(request: Versioned & { steps?: boolean }): Promise<{ more: boolean }> {
    checkVersion(request)
    await asyncFaultPoint('bucket.mend', { object: this.ctx })
    let more = this.log.mend()
    for (; more && request.steps !== true; more = this.log.mend()) await sleep(0)
    return { more }
  }

  /** Opens a direct stream. Only our own Worker calls this, and it has verified the token. */
  override async fetch(request: Request): Promise<Response> {
    const asked = directRequest(request)
    if (!asked) return new Response('a WebSocket is expected', { status: 426 })
    const { client, server: socket } = socketPair()
    this.#name = asked.bucket
    this.ctx.acceptWebSocket(socket)
    this.#direct.accept(socket, asked)
    await this.#armForExpiry()
    return new Response(null, { status: 101, webSocket: client })
  }

  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    this.#direct.message(socket, message)
  }

  override async webSocketClose(socket: WebSocket): Promise<void> {
    this.#direct.gone(socket)
    closeQuietly(socket, 1000, '')
    if (this.#direct.size === 0) this.#left()
  }

  override async webSocketError(socket: WebSocket): Promise<void> {
    await this.webSocketClose(socket)
  }

  override async alarm(): Promise<void> {
    this.#alarm = null
    this.#direct.expire()
    const overdue = this.#direct.size > 0 && this.log.waiting
    if (overdue) this.#direct.ask()
    try {
      const next = await this.#compact()
      if (next !== null) await this.#arm(next)
    } finally {
      if (overdue) await this.#arm(OVERDUE_MS)
      await this.#armForExpiry()
      await this.#armForHistory()
    }
  }

  /**
   * Compacts for as long as one alarm should take. Returns after how many ms the next alarm follows, or null when
   * nothing is left to do.
   */
  async #compact(): Promise<number | null> {
    if (!this.log.worthCompacting) return null
    if (this.log.mending) return TURN_MS * (0.5 + Math.random())
    if (this.log.waiting && (this.log.historyDue ?? Infinity) <= Date.now()) {
      // No append tells an inactive bucket that its last op is committed, so it asks. When the replicator does not
      // answer, the rest is due again later.
      await this.#askCommitted().catch((error: unknown) =>
        console.warn('the replicator did not answer what is committed', error),
      )
    }
    if (!compactions.take(this)) return TURN_MS * (0.5 + Math.random())
    let length = 0
    try {
      for (let steps = 0; steps < COMPACTION_STEPS && length < COMPACTION_LENGTH; steps++) {
        const read = this.log.compact()
        if (read === null) {
          compactions.release(this)
          return (await this.#mayGoOn()) ? 0 : null
        }
        length += read
        compactions.take(this)
        // Other calls get their turn between two steps.
        await sleep(0)
      }
    } catch (error) {
      compactions.release(this)
      throw error
    }
    // The turn is kept, because the compaction keeps what it remembers.
    this.log.pauseCompaction()
    return 0
  }

  /**
   * Asks whether the last ops are committed, which otherwise only the next append would say. Matters after a copy or a
   * long backlog. Returns whether they are.
   */
  async #mayGoOn(): Promise<boolean> {
    if (!this.log.worthCompacting) return false
    const before = this.log.committed
    await this.#askCommitted()
    return this.log.committed > before && this.log.last > before
  }

  async #askCommitted(): Promise<void> {
    const request = { v: MESSAGE_VERSION, ...(this.#direct.size > 0 ? { bucket: this.#name } : {}) }
    try {
      this.#direct.publish(await answered(() => this.#replicator.committed(request), callDeadline(this.env)))
    } catch (error) {
      if (!isFenced(error) && !isNoTenant(error)) throw error
      this.#refused(error)
    }
  }

  /** The replicator refuses to watch the bucket: nobody may follow it now. */
  #refused(error: unknown): void {
    if (!isNoTenant(error)) return this.#direct.fenced()
    this.ctx.waitUntil(this.#dismissed().catch(() => {}))
  }

  /** Ends direct streams. An object without a log then has no alarm either. */
  async #dismissed(): Promise<void> {
    this.#direct.dismissed()
    if (this.log.exists) return
    this.#alarm = null
    await this.ctx.storage.deleteAlarm()
  }

  /** Sets the alarm for a compaction that is due. */
  async #armForHistory(): Promise<void> {
    const wait = (this.log.historyDue ?? 0) - Date.now()
    if (wait > 0) await this.#arm(wait)
  }

  async #armForExpiry(): Promise<void> {
    const expires = this.#direct.nextExpiry
    if (expires !== null) await this.#arm(Math.max(0, expires * 1_000 - Date.now()))
  }

  /** Sets the alarm, unless an earlier one is set: each alarm is a row written. */
  async #arm(wait: number): Promise<void> {
    const at = Date.now() + wait
    if (this.#alarm === undefined) this.#alarm = await this.ctx.storage.getAlarm()
    if (this.#alarm !== null && this.#alarm <= at) return
    this.#alarm = at
    await this.ctx.storage.setAlarm(at)
  }

  /** Returns a new stub for each call. */
  get #replicator() {
    return replicatorStub(this.env, placedAt(this.env, this.ctx, this.#tenant.name))
  }

  /** Tries once. A replicator that does not get the message asks by itself once a day. */
  #left(): void {
    const left = answered(
      () => this.#replicator.left({ v: MESSAGE_VERSION, bucket: this.#name }),
      callDeadline(this.env),
    )
    this.ctx.waitUntil(left.catch(() => {}))
  }

  /** Repeats a call, each time with a new stub, until it is answered. */
  #watch(tokens: TokenMark[]): Promise<Serving & Checked> {
    return untilAnswered(() => this.#replicator.watch({ v: MESSAGE_VERSION, bucket: this.#name, tokens }), {
      deadlineMs: callDeadline(this.env),
      firstMs: FIRST_WAIT_MS,
      maxMs: MAX_WAIT_MS,
      failed: (error, attempts) => {
        if (isFenced(error) || isNoTenant(error)) throw error
        if (attempts === ATTEMPTS_BEFORE_REPORT)
          console.warn(`bucket ${this.#name}: the replicator does not answer`, error)
      },
    })
  }
}

/** Returns the code of an error. An error that came through RPC keeps it. */
const codeOf = (error: unknown): unknown => (error instanceof Error && 'code' in error ? error.code : null)
const isFenced = (error: unknown): boolean => codeOf(error) === 'ROCKPOOL_BUCKET_FENCED'
const isNoTenant = (error: unknown): boolean => codeOf(error) === 'ROCKPOOL_TENANT'
