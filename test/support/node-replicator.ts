import { Log } from '../../durable-objects/bucket/log.ts'
import { makeParts, type Parts } from '../../durable-objects/replicator/parts.ts'
import { Session } from '../../durable-objects/replicator/session/session.ts'
import type { SessionEnd } from '../../durable-objects/replicator/session/session-state.ts'
import { CLOCK } from '../../durable-objects/shared/clock.ts'
import { testDatabase } from '../../durable-objects/test-database.ts'
import type { BucketRpc } from '../../protocol/messages/bucket.ts'
import type { WireOp } from '../../protocol/ops.ts'
import type { SourceKind } from '../../sources/source.ts'
import { replicationSettings, type ReplicationSettings } from '../../tenants/replication.ts'

export interface NodeReplicatorOptions {
  kind: SourceKind<ReplicationSettings>
  syncConfig: string
  /** Replaces some settings. */
  settings?: Partial<ReplicationSettings>
}

/** An object of a bucket, as a client that has all of its ops sees it. */
export interface HeldObject {
  bucket: string
  type: string
  id: string
  data: string
}

/**
 * The parts of a replicator and its sessions in Node, over any kind of source and over the logs of real buckets,
 * without the object, its alarms, relays, and the calls between objects.
 */
export class NodeReplicator {
  readonly #options: NodeReplicatorOptions
  readonly #db = testDatabase()
  readonly buckets = new Map<string, Log>()
  parts: Parts
  /** The running session, or null. */
  session: Session | null = null
  /** Whether a client is connected. */
  isLive = false
  /** How often a session has settled. */
  settled = 0
  /** The errors after which memory and storage may differ. */
  resets: unknown[] = []

  constructor(options: NodeReplicatorOptions) {
    this.#options = options
    this.parts = this.#begin()
  }

  get settings(): ReplicationSettings {
    const { syncConfig, settings } = this.#options
    return {
      ...replicationSettings({ LINGER_SECONDS: '0' }, syncConfig, true),
      callSeconds: 2,
      sessionSeconds: 20,
      ...settings,
    }
  }

  /** Begins another incarnation with what is stored. */
  restart(): void {
    this.parts = this.#begin()
  }

  /** Runs one session, optionally with other settings. */
  async run(settings: Partial<ReplicationSettings> = {}): Promise<SessionEnd> {
    const session = new Session(
      this.parts,
      { ...this.settings, ...settings },
      {
        url: 'memory://app',
        kind: this.#options.kind,
        leaveFormer: async () => {},
        live: () => this.isLive,
        progress: () => {},
        settled: async () => void this.settled++,
        durable: async () => {},
      },
    )
    this.session = session
    try {
      return await session.run()
    } finally {
      this.session = null
    }
  }

  /** Returns what the buckets hold at the checkpoint that is served. */
  objects(): HeldObject[] {
    const { checkpoint } = this.parts.store.serving
    return [...this.buckets].flatMap(([bucket, log]) => {
      const answer = log.read(0, checkpoint, Infinity)
      if (answer.kind !== 'ops') return []
      const held = new Map<string, HeldObject>()
      for (const op of JSON.parse(`[${answer.body}]`) as WireOp[]) {
        if (op.op !== 'PUT' && op.op !== 'REMOVE') continue
        const key = JSON.stringify([op.object_type, op.object_id, op.subkey])
        if (op.op === 'PUT') held.set(key, { bucket, type: op.object_type, id: op.object_id, data: op.data })
        else held.delete(key)
      }
      return [...held.values()]
    })
  }

  #begin(): Parts {
    return makeParts({
      db: this.#db,
      clock: CLOCK,
      deadlineMs: 2_000,
      reset: (error) => void this.resets.push(error),
      resetReason: null,
      durable: async () => {},
      callBucket: (bucket, call) => call(this.#bucket(bucket)),
      connectRelay: async () => null,
    })
  }

  #bucket(name: string): BucketRpc {
    const log = this.buckets.get(name) ?? new Log(testDatabase())
    this.buckets.set(name, log)
    return {
      append: async (request) => log.append(request),
      state: async ({ checkpoint }) => log.stateAt(checkpoint),
      read: async ({ after, checkpoint, budget }) => log.read(after, checkpoint, budget),
      rows: async ({ checkpoint, limit }) => log.rows(checkpoint, limit),
      publish: async () => ({ none: true }),
      remove: async ({ serial }) => log.remove(serial),
      idle: async ({ before }) => log.idle(before),
      erase: async ({ upTo }) => ({ erased: log.last <= upTo && this.buckets.delete(name) }),
      digest: async (request) => log.digest(request),
      dismiss: async () => {},
      revoke: async () => 0,
      mend: async () => ({ more: log.mend() }),
      size: async () => 0,
    }
  }
}
