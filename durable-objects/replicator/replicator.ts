import { DurableObject } from 'cloudflare:workers'
import { FIRST_KIND, kindOf } from '../../sources/registry.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import type { ConfigsAnswer, DeployAnswer, DeployRequest, RollbackAnswer } from '../../protocol/messages/admin.ts'
import type { ReplicatorRpc, Serving } from '../../protocol/messages/replicator.ts'
import type { ReplicatorStatus } from '../../protocol/messages/status.ts'
import type { Versioned } from '../../protocol/versions.ts'
import type { VerifyAnswer } from '../../protocol/verification.ts'
import type { Environment } from '../environment.ts'
import { enableFaults, faultPoint, asyncFaultPoint } from '../shared/fault-points.ts'
import { objectName } from '../shared/object-name.ts'
import { checkVersion } from '../shared/version.ts'
import { replicatorStatus, verifyWaitsFor, type SourceOfStatus } from './status.ts'
import { wire, type Wired } from './wiring.ts'

/** Storage that a newer release has written is looked at again after this time. */
const NEWER_STORAGE_MS = 60_000

/**
 * One tenant's replicator: the calls of other objects and of Workers, and its alarm. Each goes to the part that answers
 * it; `wiring.ts` makes the parts.
 */
export class Replicator extends DurableObject<Environment> implements ReplicatorRpc {
  /** An error when this code cannot open what is stored: then every call throws it, and nothing else is done. */
  readonly #opened: Wired | RockpoolError

  constructor(ctx: DurableObjectState, env: Environment) {
    super(ctx, env)
    enableFaults(env.FAULTS, ctx)
    faultPoint('replicator.start')
    const name = objectName(ctx)
    this.#opened = opened(() => wire({ ctx, env: () => this.env, name }))
    if (this.#opened instanceof RockpoolError) void ctx.storage.setAlarm(Date.now() + NEWER_STORAGE_MS)
    else this.#opened.sessions.start()
  }

  /** Throws ROCKPOOL_STORAGE_NEWER. */
  get #parts(): Wired {
    if (this.#opened instanceof RockpoolError) throw this.#opened
    return this.#opened
  }

  async attach(request: Versioned & { relay: string }): Promise<void> {
    checkVersion(request)
    const { relays, sessions, tenant } = this.#parts
    if (!request.relay.startsWith(`${tenant().name}/`)) throw new RockpoolError('ROCKPOOL_INTERNAL', 'a relay of another tenant')
    await asyncFaultPoint('replicator.attach')
    relays.attach(request.relay)
    await sessions.arm()
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
    await this.#parts.sessions.arm()
    return serving
  }

  async left(request: Versioned & { bucket: string }): Promise<void> {
    checkVersion(request)
    this.#parts.watchers.left(request.bucket)
  }

  /** Throws ROCKPOOL_BUCKET_FENCED. */
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
    const { writes, sessions } = this.#parts
    const writeCheckpoint = await writes.request(request.user, request.clientId)
    await asyncFaultPoint('replicator.write')
    await sessions.arm()
    return { writeCheckpoint }
  }

  async checkpointRequest(request: Versioned & { user: string; clientId: string; id: string }): Promise<{ id: string }> {
    checkVersion(request)
    const { writes, sessions } = this.#parts
    const id = await writes.request(request.user, request.clientId, BigInt(request.id))
    await sessions.arm()
    return { id }
  }

  async wake(request: Versioned): Promise<void> {
    checkVersion(request)
    await this.#parts.sessions.wake()
  }

  async stopping(request: Versioned): Promise<void> {
    checkVersion(request)
    await this.#parts.sessions.stopping()
  }

  async deploy(request: DeployRequest): Promise<DeployAnswer> {
    checkVersion(request)
    return this.#parts.admin.deploy(request)
  }

  async rollback(request: Versioned & { dryRun: boolean; by?: string; to?: number }): Promise<RollbackAnswer> {
    checkVersion(request)
    return this.#parts.admin.rollback(request)
  }

  async withdraw(request: Versioned & { number: number; by: string }): Promise<ConfigsAnswer> {
    checkVersion(request)
    return this.#parts.admin.withdraw(request)
  }

  async configs(request: Versioned): Promise<ConfigsAnswer> {
    checkVersion(request)
    return this.#parts.admin.answer()
  }

  async verify(request: Versioned & { repair: boolean; by?: string }): Promise<VerifyAnswer> {
    checkVersion(request)
    const { verification, sessions } = this.#parts
    verification.start(request.repair, request.by)
    await sessions.arm()
    return verification.answer(verifyWaitsFor(this.#parts))
  }

  async verification(request: Versioned): Promise<VerifyAnswer> {
    checkVersion(request)
    return this.#parts.verification.answer(verifyWaitsFor(this.#parts))
  }

  async cancelVerify(request: Versioned): Promise<VerifyAnswer> {
    checkVersion(request)
    this.#parts.verification.cancel()
    return this.#parts.verification.answer(null)
  }

  async status(request: Versioned & { look?: boolean }): Promise<ReplicatorStatus> {
    checkVersion(request)
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
      return { kind: kindOf(url, this.env), source: { settings: (await tenant().find()).replication, url } }
    } catch {
      return { kind: FIRST_KIND, source: null }
    }
  }

  override async alarm(): Promise<void> {
    // The runtime constructs the object again for newer code, which continues with its first alarm.
    if (this.#opened instanceof RockpoolError) return this.ctx.storage.setAlarm(Date.now() + NEWER_STORAGE_MS)
    await this.#opened.sessions.alarm()
  }
}

/** Returns the error when newer code has written the storage. Throws any other. */
function opened(open: () => Wired): Wired | RockpoolError {
  try {
    return open()
  } catch (error) {
    if (error instanceof RockpoolError && error.code === 'ROCKPOOL_STORAGE_NEWER') return error
    throw error
  }
}
