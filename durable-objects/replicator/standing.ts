import { RockpoolError } from '../../protocol/errors.ts'
import type { RemovedBuckets, Standing } from '../../protocol/messages/replicator.ts'
import { MESSAGE_VERSION, type Versioned } from '../../protocol/versions.ts'
import type { BucketRpc } from '../../protocol/messages/bucket.ts'
import type { RelayRpc } from '../../protocol/messages/relay.ts'
import type { Database } from '../shared/database.ts'
import { inTurn } from './in-turn.ts'
import type { HealthWatch } from './session/health-watch.ts'
import { measurePaused, PAUSED_CHECKS } from './session/paused.ts'
import type { SourceAccess } from './session/source-access.ts'
import type { Store } from './store/store.ts'

/** Buckets whose storage one call erases. Each gets three calls. */
export const BUCKETS_A_CALL = 200
/** In place of WAL_CHECK_SECONDS, when settings are wrong. */
const SETTINGLESS_SECONDS = 60

/** Calls of the tenant's other objects, each with a deadline. */
interface ObjectCalls {
  relay<T>(name: string, call: (relay: RelayRpc) => Promise<T>): Promise<T>
  bucket<T>(name: string, call: (bucket: Pick<BucketRpc, 'dismiss' | 'remove' | 'erase'>) => Promise<T>): Promise<T>
}

/** What is used of the runtime. */
interface ObjectRuntime {
  storage: {
    setAlarm(at: number): Promise<void>
    deleteAlarm(): Promise<void>
    deleteAll(): Promise<void>
    sync(): Promise<void>
  }
  abort(reason: string): void
  blockConcurrencyWhile<T>(work: () => Promise<T>): Promise<T>
}

export interface StandingPorts extends ObjectCalls {
  tenant: string
  ctx: ObjectRuntime
  store: Store
  health: HealthWatch
  /** The relays that are attached. */
  relays(): readonly string[]
  connected<T>(work: (access: SourceAccess) => Promise<T>): Promise<T>
  /** What is left in databases that the tenant had before goes. */
  leaveFormer(): Promise<void>
  walCheckSeconds(): Promise<number>
}

/** What every call is answered while the tenant is not active. */
export const notServed = (tenant: string, standing: Standing): RockpoolError =>
  new RockpoolError(
    'ROCKPOOL_TENANT',
    `the tenant ${tenant} is ${standing === 'suspended' ? 'suspended' : 'being deleted'}`,
  )

/** Returns whether storage was ever used. Asking creates nothing. */
export const isUsed = (db: Pick<Database, 'all'>): boolean =>
  db.all("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'").length > 0

/**
 * What is done when the Directory says that a tenant is suspended, active again or deleted. Everything may be repeated.
 */
export class TenantStanding {
  readonly #ports: StandingPorts

  constructor(ports: StandingPorts) {
    this.#ports = ports
  }

  /** See `ReplicatorRpc.standing`. */
  async told({ state, version }: { state: Standing; version: number }): Promise<{ streams: number }> {
    const { ctx, store } = this.#ports
    const { state: stored } = store
    const before = stored.get('standing')
    // A call of before that came late: the Directory has asked for something else since. From a deletion there is no
    // way back.
    if (version < stored.get('standingVersion') || (before === 'deleting' && state !== 'deleting'))
      return { streams: 0 }
    if (before !== state || version !== stored.get('standingVersion')) {
      store.atomically(() => {
        stored.set('standing', state)
        stored.set('standingVersion', version)
        if (before !== state) stored.set('suspended', state === 'suspended' ? Date.now() : 0)
      })
    }
    if (before !== state) {
      await ctx.storage.deleteAlarm()
      await ctx.storage.sync()
      // Sessions, sockets and calls of before end with the memory of the object.
      ctx.abort(`the tenant is ${state}`)
    }
    // Of a suspended tenant the alarm measures what the database keeps for it.
    if (state !== 'deleting') await ctx.storage.setAlarm(Date.now())
    return { streams: state === 'active' ? 0 : await this.#dismiss() }
  }

  /** Removes what Rockpool made in the database of a tenant that is being deleted. */
  async leaveSource(): Promise<void> {
    this.#refuseUndeleted()
    await this.#ports.connected(({ source, call }) => source.leave(call()))
    await this.#ports.leaveFormer()
  }

  /** See `ReplicatorRpc.removeBuckets`. */
  async removeBuckets(after: number): Promise<RemovedBuckets> {
    this.#refuseUndeleted()
    return removeBuckets(this.#ports.store.db, this.#ports, after)
  }

  /** Erases the storage. `before` is called first: nothing of this incarnation may write any more. */
  async eraseAll(before: () => void): Promise<void> {
    this.#refuseUndeleted()
    const { ctx } = this.#ports
    before()
    // When it fails, the runtime ends the object, and the next incarnation finds what is left.
    await ctx.blockConcurrencyWhile(async () => {
      await Promise.all([ctx.storage.deleteAlarm(), ctx.storage.deleteAll()])
    })
  }

  /**
   * The alarm of a tenant that is not active. What the database keeps for a suspended one is measured now and then,
   * until it is dropped.
   */
  async measure(): Promise<void> {
    const { ctx, store } = this.#ports
    if (store.state.get('standing') !== 'suspended') return
    const seconds = await this.#ports.walCheckSeconds().catch(() => SETTINGLESS_SECONDS)
    await ctx.storage.setAlarm(Date.now() + PAUSED_CHECKS * seconds * 1_000)
    if (!(await this.look('suspended', store.state.get('suspended')))) await ctx.storage.deleteAlarm()
  }

  /**
   * Measures what the database keeps for a tenant that is not replicated, and drops what is too much. Returns false
   * when nothing is kept any more. `since`: ms since 1970.
   */
  async look(is: 'suspended' | 'paused', since: number): Promise<boolean> {
    const { store, health, connected, tenant } = this.#ports
    try {
      const paused = { health, store, since, now: Date.now(), is }
      return await connected(({ source, call }) => measurePaused(source, call, paused))
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      store.diagnostics.add({ code: 'ROCKPOOL_SOURCE_UNREACHABLE', reason })
      console.error(`the tenant ${tenant} is ${is}, and its slot cannot be looked at`, reason)
      return true
    } finally {
      store.diagnostics.flush()
    }
  }

  /**
   * Ends all streams, and returns how many there were. A stream that comes afterwards is refused: relays and buckets
   * ask the replicator before they send anything. Rejects when one of the objects does not answer.
   */
  async #dismiss(): Promise<number> {
    const { store, relays, relay, bucket } = this.#ports
    const request: Versioned = { v: MESSAGE_VERSION }
    const streams = await Promise.all(relays().map((name) => relay(name, (stub) => stub.dismiss(request))))
    const followed = store.db.all('SELECT bucket FROM watchers ORDER BY bucket').map((row) => String(row.bucket))
    await inTurn(followed, (name) => bucket(name, (stub) => stub.dismiss(request)))
    return streams.reduce((sum, each) => sum + each, 0)
  }

  /** Throws ROCKPOOL_TENANT_CONFLICT: storage must not be lost by a call that came late. */
  #refuseUndeleted(): void {
    const { store, tenant } = this.#ports
    const standing = store.state.get('standing')
    if (standing !== 'deleting')
      throw new RockpoolError(
        'ROCKPOOL_TENANT_CONFLICT',
        `the tenant ${tenant} is ${standing}, and is not being deleted`,
      )
  }
}

/**
 * Erases the storage of the next buckets after `after`. Buckets are found by the replicator's table, which has each
 * name before the first op is sent, and then by the list of those that were dropped and are to be erased later. Names
 * in the table stay until the replicator itself is erased, because a second round follows. Rejects when one does not
 * answer.
 */
export async function removeBuckets(
  db: Database,
  { bucket }: Pick<ObjectCalls, 'bucket'>,
  after: number,
): Promise<RemovedBuckets> {
  const page = db.all(
    'SELECT number, name FROM buckets WHERE number > ? ORDER BY number LIMIT ?',
    after,
    BUCKETS_A_CALL,
  )
  const last = page.at(-1)
  if (last === undefined) return removeDropped(db, { bucket }, after)
  const names = page.map((row) => String(row.name))
  await inTurn(names, (name) => erase(bucket, name))
  const left = db.all('SELECT count(*) AS n FROM buckets WHERE number > ?', Number(last.number))[0]
  return { removed: names.length, after: Number(last.number), left: Number(left?.n ?? 0) }
}

async function removeDropped(
  db: Database,
  { bucket }: Pick<ObjectCalls, 'bucket'>,
  after: number,
): Promise<RemovedBuckets> {
  const page = db.all('SELECT recorded, due, name FROM removals LIMIT ?', BUCKETS_A_CALL)
  const names = page.map((row) => String(row.name))
  await inTurn(names, (name) => erase(bucket, name))
  for (const { recorded, due, name } of page) {
    db.run(
      'DELETE FROM removals WHERE recorded = ? AND due = ? AND name = ?',
      Number(recorded),
      Number(due),
      String(name),
    )
  }
  return { removed: names.length, after: names.length < BUCKETS_A_CALL ? null : after, left: 0 }
}

async function erase(bucket: ObjectCalls['bucket'], name: string): Promise<void> {
  const request = { v: MESSAGE_VERSION, serial: Number.MAX_SAFE_INTEGER }
  // An object that is followed directly is not erased.
  await bucket(name, (stub) => stub.dismiss(request))
  await bucket(name, (stub) => stub.remove(request))
  const { erased } = await bucket(name, (stub) => stub.erase({ ...request, upTo: Number.MAX_SAFE_INTEGER }))
  if (!erased) throw new Error(`the bucket ${name} is followed again`)
}
