import { bucketObjectName } from '../../protocol/names.ts'
import { kindOf } from '../../sources/registry.ts'
import { tenantOfObject, type OwnTenant } from '../../tenants/of-object.ts'
import type { RevocationChange } from '../../protocol/messages/replicator.ts'
import type { BucketRpc } from '../../protocol/messages/bucket.ts'
import type { RelayRpc } from '../../protocol/messages/relay.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import type { Environment } from '../environment.ts'
import { CLOCK } from '../shared/clock.ts'
import { durableDatabase } from '../shared/durable-database.ts'
import { bucketStub, isElsewhere, placedAt, relayStub } from '../shared/namespaces.ts'
import { answered, callDeadline } from '../shared/retry.ts'
import { connectRelay, openStreams } from './commit/relay-connection.ts'
import { CurrentSession } from './current-session.ts'
import { Admin } from './deploy/admin.ts'
import { makeParts, type Parts } from './parts.ts'
import { resetOf, takeResetReason } from './reset.ts'
import { FormerSources } from './session/former-sources.ts'
import { Sessions } from './sessions.ts'
import { SourceConnections } from './source-connections.ts'
import { SourceLooks } from './source-looks.ts'
import { revoke } from './revoking.ts'
import { TenantStanding } from './standing.ts'
import { StoredSize } from './stored-size.ts'
import { Usage } from './usage.ts'
import { lastDelivered } from './writes/mailboxes.ts'
import { WriteCheckpoints } from './writes/write-checkpoints.ts'

/** The parts of a replicator, and what joins them with the runtime. */
export interface Wired extends Parts {
  readonly current: CurrentSession
  readonly writes: WriteCheckpoints
  readonly sessions: Sessions
  readonly looks: SourceLooks
  readonly admin: Admin
  readonly standing: TenantStanding
  readonly usage: Usage
  /** See `ReplicatorRpc.revoke`. */
  revoke(change: RevocationChange): Promise<{ streams: number }>
  tenant(): OwnTenant
  /** Returns whether a client is connected: then the tenant is followed live. */
  isLive(): boolean
  /** Returns the rows written as the platform bills them, since this object started. */
  rowsWritten(): number
}

/** The object that is wired. */
export interface Wiring {
  ctx: DurableObjectState
  /** Returns the bindings. They are read for each use, because they have the settings. */
  env(): Environment
  name: string
}

/**
 * Makes the parts of a replicator over the storage of its object, each of those before it. Throws
 * ROCKPOOL_STORAGE_NEWER.
 */
export function wire({ ctx, env, name }: Wiring): Wired {
  const tenant = () => tenantOfObject(env(), name)
  const kindOfUrl = (url: string) => kindOf(url, env())
  const callMs = () => callDeadline(env())
  const { name: tenantName } = tenant()
  const placed = () => placedAt(env(), ctx, tenantName)
  const db = durableDatabase(ctx.storage)
  const resetReason = takeResetReason(tenantName)
  const parts = makeParts({
    db,
    clock: CLOCK,
    deadlineMs: callMs(),
    reset: resetOf(ctx, tenantName),
    resetReason,
    durable: () => ctx.storage.sync(),
    async callBucket(bucket, call) {
      const objectName = await bucketObjectName(tenantName, bucket)
      return call(bucketStub(env(), placed(), objectName))
    },
    connectRelay: (relay, serial) => {
      const { revision } = parts.store.revocations
      return connectRelay(env(), placed(), relay, { serial, revision })
    },
  })
  const { store, marks, committer, relays, watchers, deploys, fencing } = parts
  const { state, rows, diagnostics } = store
  const isLive = () => relays.size > 0 || watchers.size > 0
  const streams = (deadlineMs?: number) => openStreams(env(), placed(), relays.names, deadlineMs)
  const current = new CurrentSession()
  const connections = new SourceConnections({ store, current, tenant, kindOf: kindOfUrl, callMs })
  const writes = new WriteCheckpoints({
    async emit(content) {
      try {
        await connections.ask(({ source, call }) => source.mark(marks.sign(content), call()))
      } catch (error) {
        // What the database says is for operators, and not for clients.
        diagnostics.add({
          code: 'ROCKPOOL_WRITE_CHECKPOINT',
          reason: error instanceof Error ? error.message : String(error),
        })
        throw error
      }
    },
    issued: () => state.get('issued'),
    setIssued: (upTo) => state.set('issued', upTo),
    delivered: (user, clientId) => lastDelivered(rows, user, clientId),
    held: () => committer.mustDelayWrites,
    owed: () => state.get('owedWrites'),
    setOwed: (owed) => state.set('owedWrites', [...owed]),
  })
  const usage = new Usage({
    tenant: tenantName,
    state,
    diagnostics,
    written: () => ({ rows: db.rowsWritten, appends: parts.appends.calls }),
    now: () => Date.now(),
    report: () => sessions.report(),
    stored: new StoredSize({
      state,
      buckets: (after, limit) => store.buckets.after(after, limit),
      size: (bucket) => objects.bucket(bucket, (stub) => stub.size({ v: MESSAGE_VERSION })),
      own: () => ctx.storage.sql.databaseSize,
      appended: () => parts.appends.length,
      now: () => Date.now(),
    }),
  })
  const former = new FormerSources({ store, tenant, kindOf: kindOfUrl, now: Date.now })
  const sessions = new Sessions({
    parts,
    usage,
    look: (since) => standing.look('paused', since),
    current,
    storage: ctx.storage,
    resetReason,
    tenant,
    kindOf: kindOfUrl,
    isElsewhere: () => isElsewhere(env(), ctx.id),
    isLive,
    former,
    settled: () => writes.repeat(),
  })
  const looks = new SourceLooks({ store, current, connections, openStreams: streams })
  const admin = new Admin({
    store,
    deploys,
    openStreams: streams,
    settings: async () => (await tenant().find()).replication,
    connected: (question) => connections.ask(question),
    begin: () => sessions.restart(),
    waitingFor: () => current.waitingFor,
  })
  const objects = {
    relays: () => relays.names,
    relay: <T>(relay: string, call: (stub: RelayRpc) => Promise<T>) =>
      answered(() => call(relayStub(env(), placed(), relay)), callMs()),
    async bucket<T>(bucket: string, call: (stub: BucketRpc) => Promise<T>) {
      const objectName = await bucketObjectName(tenantName, bucket)
      return answered(() => call(bucketStub(env(), placed(), objectName)), callMs())
    },
  }
  const standing = new TenantStanding({
    tenant: tenantName,
    ctx,
    store,
    health: parts.health,
    ...objects,
    connected: (question) => connections.ask(question),
    leaveFormer: () => former.leaveAll(),
    walCheckSeconds: async () => (await tenant().find('whatever')).replication.walCheckSeconds,
  })
  committer.onStoring(() => {
    if (usage.check()) current.session?.restart()
  })
  fencing.onAnswer(() => void sessions.arm())
  return {
    ...parts,
    current,
    writes,
    sessions,
    looks,
    admin,
    standing,
    usage,
    revoke: (change) => revoke(change, { store, ...objects }),
    tenant,
    isLive,
    rowsWritten: () => db.rowsWritten,
  }
}
