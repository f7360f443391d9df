import type { AppendRequest, BucketRpc, BucketState } from '../../protocol/messages/bucket.ts'
import type { Clock } from '../shared/clock.ts'
import type { Database } from '../shared/database.ts'
import { asyncFaultPoint } from '../shared/fault-points.ts'
import { answered, untilAnswered, type Repeat } from '../shared/retry.ts'
import { Committer } from './commit/committer.ts'
import { Dispatcher } from './commit/dispatcher.ts'
import { Fencing } from './commit/fencing.ts'
import type { RelayConnection } from './commit/relay-link.ts'
import { RelaySockets } from './commit/relay-sockets.ts'
import { pauseBefore, Watchers } from './commit/watchers.ts'
import { Deploys } from './deploy/deploys.ts'
import { Drops } from './deploy/drops.ts'
import { Batches } from './ingest/batches.ts'
import { Care } from './ingest/care.ts'
import { Marks } from './ingest/marks.ts'
import { HealthWatch } from './session/health-watch.ts'
import type { SessionParts } from './session/session-parts.ts'
import { ownerOf } from './store/definitions.ts'
import { Differences } from './store/differences.ts'
import { Store } from './store/store.ts'
import { Removals } from './tidy/removals.ts'
import { Tidying } from './tidy/tidying.ts'
import { BucketSilent } from './verify/bucket-check.ts'
import { Verification } from './verify/verification.ts'
import { MAILBOX_DEFINITION } from './writes/mailboxes.ts'

const MEND = { firstMs: 200, maxMs: 2_000 }
/** A bucket that fails this many times when its totals are mended ends the verification, not the session. */
const MEND_ATTEMPTS = 5

/** What the parts need of the runtime. */
export interface PartsPorts {
  db: Database
  clock: Clock
  /** The deadline of one call of another object. */
  deadlineMs: number
  /** Memory and storage may differ: the object ends, and the next incarnation begins from storage. */
  reset(error: unknown): void
  /** Why the last incarnation was ended, or null when that is not known. */
  resetReason: string | null
  /** Resolves when everything written so far is durable. */
  durable(): Promise<void>
  /** Makes one call of a bucket, with a stub of its own. */
  callBucket<T>(bucket: string, call: (bucket: BucketRpc) => Promise<T>): Promise<T>
  /** Makes one attempt to open a socket. Returns null when the relay has no streams and wants none. */
  connectRelay(relay: string, serial: number): Promise<RelayConnection | null>
}

/** The parts of the replicator, which exist with or without a session. */
export interface Parts extends SessionParts {
  readonly watchers: Watchers
  readonly relays: RelaySockets
  readonly appends: Dispatcher
}

/**
 * Makes the parts of one tenant's replicator, each of those before it, and continues with what is stored. Throws
 * ROCKPOOL_STORAGE_NEWER.
 */
export function makeParts(ports: PartsPorts): Parts {
  const { db, clock, deadlineMs, resetReason, durable, callBucket } = ports
  const store = new Store(db, { reset: ports.reset })
  const { state, buckets, definitions, diagnostics, fences, plans, configs, rows, tables } = store
  if (resetReason !== null)
    diagnostics.add({ code: 'ROCKPOOL_INTERNAL', reason: `the replicator began anew: ${resetReason}` })

  const atomically = <T>(work: () => T): T => store.atomically(work)
  const repeat: Repeat = (call, retry) => untilAnswered(call, { ...retry, deadlineMs })
  const append = (bucket: string, request: AppendRequest): Promise<BucketState> =>
    callBucket(bucket, (stub) => stub.append(request))
  const ask = <T>(bucket: string, call: (bucket: BucketRpc) => Promise<T>): Promise<T> =>
    answered(() => callBucket(bucket, call), deadlineMs)
  const undeleted = (bucket: string, reason: string) =>
    diagnostics.add({ code: 'ROCKPOOL_BUCKET_FAILING', key: bucket, reason: `it cannot be deleted: ${reason}` })

  const deploys = new Deploys({
    atomically,
    state,
    plans,
    configs,
    definitions,
    serving: () => store.planStored,
    served: () => store.serving.plan,
    copy: (names) => tables.copy(names),
  })
  const tidying = new Tidying({
    atomically,
    state,
    buckets,
    removals: new Removals(db),
    rows: () => rows,
    served: () => store.serving.checkpoint,
    owners: () => new Set([MAILBOX_DEFINITION, ...definitions.maintained.map(ownerOf)]),
    idle: (bucket, request) => ask(bucket, (stub) => stub.idle(request)),
    erase: (bucket, request) => ask(bucket, (stub) => stub.erase(request)),
    isFenced: (bucket) => fences.of(bucket) !== null,
    failed: undeleted,
  })
  const drops = new Drops({
    atomically,
    state,
    definitions,
    buckets,
    rows: () => rows,
    // Buckets of a plan that is still served stay.
    committed: () => store.serving.checkpoint,
    isRead: (t) => tables.namesOf(t)?.some((name) => deploys.evaluation.reads(name)) ?? false,
    remove: (bucket, request) => ask(bucket, (stub) => stub.remove(request)),
    dropped: (record, serial) => tidying.dropped(record, serial),
    failed: undeleted,
    gone: (numbers) => fences.end(numbers),
  })
  const batches = new Batches({
    store,
    evaluation: () => deploys.evaluation,
    touched: (bucket) => tidying.touched(bucket),
  })
  const care = new Care({ state, durable, failed: (error) => store.reset(error) })
  const verification = new Verification({
    state,
    tables,
    buckets,
    definitions,
    diagnostics,
    differences: new Differences(db),
    rows: () => rows,
    serving: () => store.planStored,
    trial: (batch) => batches.trial(batch),
    silent: () => fences.silent,
    digest: (bucket, request) => ask(bucket, (stub) => stub.digest(request)),
    mend: (bucket, request) =>
      untilAnswered(() => ask(bucket, (stub) => stub.mend(request)), {
        ...MEND,
        deadlineMs,
        failed: (error, attempts) => {
          if (attempts >= MEND_ATTEMPTS) throw new BucketSilent(`bucket ${bucket} cannot be mended: ${String(error)}`)
        },
      }),
  })
  const watchers = new Watchers({
    db,
    nextSerial: () => store.nextSerial(),
    serving: () => store.serving,
    fenced: (bucket) => store.isFenced(bucket),
    publish: (bucket, request) => ask(bucket, (stub) => stub.publish(request)),
    pause: pauseBefore,
  })
  const fencing = new Fencing({
    store,
    comparison: verification,
    watchers,
    clock,
    append,
    untilAnswered: repeat,
    touched: (bucket) => tidying.touched(bucket),
  })
  verification.onCompared((compared, outcome) => fencing.compared(compared, outcome))
  const relays = new RelaySockets({
    store,
    clock,
    connect: (relay, serial) => ports.connectRelay(relay, serial),
    untilAnswered: repeat,
  })
  const appends = new Dispatcher({
    send: append,
    deadlineMs,
    failed: ({ bucket, error }) => diagnostics.add({ code: 'ROCKPOOL_BUCKET_FAILING', key: bucket, reason: error }),
  })
  const committer = new Committer({
    store,
    relays,
    watchers,
    fencing,
    clock,
    append: (bucket, batch, sending) => appends.append(bucket, batch, sending),
    durable: () =>
      answered(async () => {
        await durable()
        await asyncFaultPoint('notice.durable')
      }, deadlineMs),
  })
  committer.onStoring((batch) => {
    verification.storing(batch)
    care.stored(batch.changes)
    // Once more: a round may have begun since the ops were made, and would find the bucket empty.
    for (const bucket of batch.appends.keys()) tidying.touched(bucket)
  })
  // What is left of a tenant that is not active reaches nobody.
  if (state.get('standing') === 'active') committer.recover()
  return {
    store,
    marks: new Marks(state),
    deploys,
    drops,
    tidying,
    batches,
    care,
    verification,
    watchers,
    fencing,
    relays,
    appends,
    committer,
    health: new HealthWatch(store),
  }
}
