import { DurableObject } from 'cloudflare:workers'
import { FIRST_KIND, kindOf } from '../../sources/registry.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import type { ConfigsAnswer, DeployAnswer, DeployRequest, RollbackAnswer } from '../../protocol/messages/admin.ts'
import type {
  Checked,
  RemovedBuckets,
  ReplicatorRpc,
  RevocationChange,
  Serving,
  Standing,
  StoredRevocation,
} from '../../protocol/messages/replicator.ts'
import type { Subject, TokenMark } from '../../protocol/revocations.ts'
import type { ReplicatorStatus } from '../../protocol/messages/status.ts'
import type { Versioned } from '../../protocol/versions.ts'
import type { VerifyAnswer } from '../../protocol/verification.ts'
import { hasStoredTenants } from '../../tenants/of-environment.ts'
import { tenantOfObject } from '../../tenants/of-object.ts'
import type { Environment } from '../environment.ts'
import { durableDatabase } from '../shared/durable-database.ts'
import { enableFaults, faultPoint, asyncFaultPoint } from '../shared/fault-points.ts'
import { objectName } from '../shared/object-name.ts'
import { checkVersion } from '../shared/version.ts'
import { isUsed, notServed } from './standing.ts'
import { replicatorStatus, verifyWaitsFor, type SourceOfStatus } from './status.ts'
import { wire, type Wired } from './wiring.ts'

/** Revocations that one answer lists. */
const MAX_REVOCATIONS_PAGE = 1_000
/** Storage that a newer release has written is looked at again after this time. */
const NEWER_STORAGE_MS = 60_000

/**
 * One tenant's replicator: the calls of other objects and of Workers, and its alarm. Each goes to the part that answers
 * it; `wiring.ts` makes the parts. The file is long because it is the list of all calls.
 */
export class Replicator extends DurableObject<Environment> implements ReplicatorRpc {
  /**
   * An error when this code cannot open what is stored, or when nothing is stored and the Directory has not confirmed
   * the tenant: then every call throws it, and nothing else is done.
   */
  #opened: Wired | RockpoolError
  readonly #name: string

  constructor(ctx: DurableObjectState, env: Environment) {
    super(ctx, env)
    enableFaults(env.FAULTS, ctx)
    faultPoint('replicator.start')
    this.#name = objectName(ctx)
    // Storage is made for a tenant that the Directory knows, and not by a call that came late to one that was deleted.
    const isNew = hasStoredTenants(env) && !isUsed(durableDatabase(ctx.storage))
    this.#opened = isNew ? unconfirmed(this.#name) : this.#open()
  }

  #open(): Wired | RockpoolError {
    const wired = opened(() => wire({ ctx: this.ctx, env: () => this.env, name: this.#name }))
    if (wired instanceof RockpoolError) void this.ctx.storage.setAlarm(Date.now() + NEWER_STORAGE_MS)
    else wired.sessions.start()
    return wired
  }

  /**
   * Admits a call. Throws ROCKPOOL_MESSAGE_VERSION, ROCKPOOL_TENANT unless the tenant is active, and PSYNC_S2107 for a
   * token that was revoked.
   */
  async #admit(request: Versioned, token?: TokenMark): Promise<void> {
    checkVersion(request)
    await this.#confirm()
    if (this.#isClosed) throw notServed(this.#name, this.#parts.store.state.get('standing'))
    if (token) this.#parts.store.revocations.refuse(token)
  }

  /**
   * Makes the storage of a new tenant, when the Directory says that there is one. Throws ROCKPOOL_TENANT and
   * ROCKPOOL_UNANSWERED.
   */
  async #confirm(): Promise<void> {
    if (!this.#isUnconfirmed) return
    await tenantOfObject(this.env, this.#name).confirm()
    // Another call may have done it meanwhile.
    if (this.#isUnconfirmed) this.#opened = this.#open()
  }

  get #isUnconfirmed(): boolean {
    return this.#opened instanceof RockpoolError && this.#opened.code === 'ROCKPOOL_TENANT'
  }

  /** Whether the tenant is suspended or being deleted. */
  get #isClosed(): boolean {
    return !(this.#opened instanceof RockpoolError) && this.#opened.store.state.get('standing') !== 'active'
  }

  /** Throws ROCKPOOL_STORAGE_NEWER. */
  get #parts(): Wired {
    if (this.#opened instanceof RockpoolError) throw this.#opened
    return this.#opened
  }

  async attach(request: Versioned & { relay: string }): Promise<void> {
    await this.#admit(request)
    const { relays, sessions, tenant } = this.#parts
    if (!request.relay.startsWith(`${tenant().name}/`))
      throw new RockpoolError('ROCKPOOL_INTERNAL', 'a relay of another tenant')
    await asyncFaultPoint('replicator.attach')
    relays.attach(request.relay)
    await sessions.arm()
  }

  async committed(
    request: Versioned & { bucket?: string; tokens?: TokenMark[]; token?: TokenMark },
  ): Promise<Serving & Checked> {
    await this.#admit(request, request.token)
    if (request.bucket !== undefined) this.#refuseFenced(request.bucket)
    const { store } = this.#parts
    return { ...store.serving, ...store.revocations.check(request.tokens) }
  }

  async watch(request: Versioned & { bucket: string; tokens?: TokenMark[] }): Promise<Serving & Checked> {
    await this.#admit(request)
    this.#refuseFenced(request.bucket)
    const { watchers, store, sessions } = this.#parts
    // In one turn: a revocation that comes later finds the bucket among those that are followed.
    const answer = { ...watchers.watch(request.bucket), ...store.revocations.check(request.tokens) }
    await sessions.arm()
    return answer
  }

  async left(request: Versioned & { bucket: string }): Promise<void> {
    await this.#admit(request)
    this.#parts.watchers.left(request.bucket)
  }

  /** Throws ROCKPOOL_BUCKET_FENCED. */
  #refuseFenced(bucket: string): void {
    if (!this.#parts.store.isFenced(bucket)) return
    throw new RockpoolError(
      'ROCKPOOL_BUCKET_FENCED',
      'the bucket lacks changes, which come later: connect again in a while',
    )
  }

  async streamsAt(request: Versioned & { level: 'warn' | 'refuse'; streams: number }): Promise<void> {
    await this.#admit(request)
    this.#parts.usage.tell('streams', request.level, request.streams)
  }

  async plan(request: Versioned & { hash: string }): Promise<string | null> {
    await this.#admit(request)
    return this.#parts.store.plans.text(request.hash)
  }

  async writeCheckpoint(
    request: Versioned & { user: string; clientId: string; token?: TokenMark },
  ): Promise<{ writeCheckpoint: string }> {
    await this.#admit(request, request.token)
    const { writes, sessions, usage } = this.#parts
    usage.refusePaused()
    const writeCheckpoint = await writes.request(request.user, request.clientId)
    await asyncFaultPoint('replicator.write')
    await sessions.arm()
    return { writeCheckpoint }
  }

  async checkpointRequest(
    request: Versioned & { user: string; clientId: string; id: string; token?: TokenMark },
  ): Promise<{ id: string }> {
    await this.#admit(request, request.token)
    const { writes, sessions, usage } = this.#parts
    usage.refusePaused()
    const id = await writes.request(request.user, request.clientId, BigInt(request.id))
    await sessions.arm()
    return { id }
  }

  async wake(request: Versioned & { changed?: boolean }): Promise<void> {
    checkVersion(request)
    if (request.changed) tenantOfObject(this.env, this.#name).changed()
    await this.#confirm()
    if (!this.#isClosed) await this.#parts.sessions.wake()
  }

  async stopping(request: Versioned): Promise<void> {
    checkVersion(request)
    if (!this.#isUnconfirmed && !this.#isClosed) await this.#parts.sessions.stopping()
  }

  async standing(request: Versioned & { state: Standing; version: number }): Promise<{ streams: number }> {
    checkVersion(request)
    // A tenant that never had a session has nothing to end, and nothing is stored for it now.
    if (this.#isUnconfirmed && request.state !== 'active') return { streams: 0 }
    await this.#confirm()
    return this.#parts.standing.told(request)
  }

  async revoke(request: Versioned & RevocationChange): Promise<{ streams: number }> {
    checkVersion(request)
    await this.#confirm()
    const { store, revoke } = this.#parts
    const standing = store.state.get('standing')
    if (standing === 'deleting') throw notServed(this.#name, standing)
    return revoke(request)
  }

  async revocations(request: Versioned & { after?: Subject; limit: number }): Promise<StoredRevocation[]> {
    checkVersion(request)
    await this.#confirm()
    return this.#parts.store.revocations.list(request.after, Math.min(request.limit, MAX_REVOCATIONS_PAGE))
  }

  async leaveSource(request: Versioned): Promise<void> {
    checkVersion(request)
    if (!this.#isUnconfirmed) await this.#parts.standing.leaveSource()
  }

  async removeBuckets(request: Versioned & { after: number }): Promise<RemovedBuckets> {
    checkVersion(request)
    return this.#isUnconfirmed
      ? { removed: 0, after: null, left: 0 }
      : this.#parts.standing.removeBuckets(request.after)
  }

  async eraseAll(request: Versioned): Promise<void> {
    checkVersion(request)
    if (this.#isUnconfirmed) return
    await this.#parts.standing.eraseAll(() => (this.#opened = unconfirmed(this.#name)))
  }

  async deploy(request: DeployRequest): Promise<DeployAnswer> {
    await this.#admit(request)
    return this.#parts.admin.deploy(request)
  }

  async rollback(request: Versioned & { dryRun: boolean; by?: string; to?: number }): Promise<RollbackAnswer> {
    await this.#admit(request)
    return this.#parts.admin.rollback(request)
  }

  async withdraw(request: Versioned & { number: number; by: string }): Promise<ConfigsAnswer> {
    await this.#admit(request)
    return this.#parts.admin.withdraw(request)
  }

  async configs(request: Versioned): Promise<ConfigsAnswer> {
    await this.#admit(request)
    return this.#parts.admin.answer()
  }

  async verify(request: Versioned & { repair: boolean; by?: string }): Promise<VerifyAnswer> {
    await this.#admit(request)
    const { verification, sessions } = this.#parts
    verification.start(request.repair, request.by)
    await sessions.arm()
    return verification.answer(verifyWaitsFor(this.#parts))
  }

  async verification(request: Versioned): Promise<VerifyAnswer> {
    await this.#admit(request)
    return this.#parts.verification.answer(verifyWaitsFor(this.#parts))
  }

  async cancelVerify(request: Versioned): Promise<VerifyAnswer> {
    await this.#admit(request)
    this.#parts.verification.cancel()
    return this.#parts.verification.answer(null)
  }

  async status(request: Versioned & { look?: boolean }): Promise<ReplicatorStatus> {
    checkVersion(request)
    await this.#confirm()
    const isFresh = request.look === true
    if (isFresh) await this.#parts.looks.run()
    return replicatorStatus(this.#parts, {
      ...(await this.#sourceOfStatus()),
      isFresh,
      next: await this.#parts.sessions.next(),
    })
  }

  /** Sessions are refused when a setting is wrong, and the status says so. */
  async #sourceOfStatus(): Promise<SourceOfStatus> {
    const { tenant } = this.#parts
    try {
      const url = await tenant().secret('source.url')
      return { kind: kindOf(url, this.env), source: { settings: (await tenant().find('whatever')).replication, url } }
    } catch {
      return { kind: FIRST_KIND, source: null }
    }
  }

  override async alarm(): Promise<void> {
    if (this.#isUnconfirmed) return
    if (this.#isClosed) return this.#parts.standing.measure()
    // The runtime constructs the object again for newer code, which continues with its first alarm.
    if (this.#opened instanceof RockpoolError) return this.ctx.storage.setAlarm(Date.now() + NEWER_STORAGE_MS)
    await this.#opened.sessions.alarm()
  }
}

const unconfirmed = (tenant: string) =>
  new RockpoolError('ROCKPOOL_TENANT', `nothing is stored for the tenant ${tenant}`)

/** Returns the error when newer code has written the storage. Throws any other. */
function opened(open: () => Wired): Wired | RockpoolError {
  try {
    return open()
  } catch (error) {
    if (error instanceof RockpoolError && error.code === 'ROCKPOOL_STORAGE_NEWER') return error
    throw error
  }
}
