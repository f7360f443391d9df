import { Batch } from '../../durable-objects/replicator/batch.ts'
import { Buckets } from '../../durable-objects/replicator/buckets.ts'
import { migrate, type Database } from '../../durable-objects/database.ts'
import { gapFrame, noticeFrames } from '../../durable-objects/replicator/notice.ts'
import { Outbox, type StoredAppend } from '../../durable-objects/replicator/outbox.ts'
import { Pipeline } from '../../durable-objects/replicator/pipeline.ts'
import { RowStates } from '../../durable-objects/replicator/row-state.ts'
import { MIGRATIONS } from '../../durable-objects/replicator/storage.ts'
import { Watchers } from '../../durable-objects/replicator/watchers.ts'
import type { ReplicatorFrame, Serving } from '../../protocol/messages.ts'
import { mailboxName } from '../../protocol/names.ts'
import type { End, Sim } from './sim.ts'
import { evaluate, TABLES, type PlanHash } from './source.ts'
import type { World } from './world.ts'

export class SimReplicator {
  readonly #world: World
  readonly #db: Database
  #watchers: Watchers
  #inc = 0
  /** Notices that leave when their commit is durable. */
  #leaving: string
  #pipeline: Pipeline
  #outbox: Outbox
  #buckets: Buckets
  #sockets = new Map<string, { serial: number; end: End<ReplicatorFrame, never> }>()
  #opening = new Set<string>()
  // Stored: survives a crash.
  #stored = {
    ...{ counter: 0, txn: 0, part: 0, sliced: false, plan: 'p' as PlanHash, serial: 0 },
    ...{
      batch: 0,
      committed: 0,
      committedPlan: 'p' as string | null,
      notice: null as { previous: number; parts: ReplicatorFrame[] } | null,
    },
  }
  #relays = new Map<string, number>()

  constructor(world: World, db: Database) {
    this.#world = world
    this.#db = db
    this.#leaving = world.sim.unevenChannel()
    migrate(this.#db, MIGRATIONS)
    this.#buckets = new Buckets(this.#db)
    this.#outbox = new Outbox(this.#db, this.#stored.batch)
    this.#pipeline = this.#newPipeline()
    this.#watchers = this.#newWatchers()
    this.#decodeLater()
  }

  get serving(): Serving {
    return { checkpoint: this.#stored.committed, plan: this.#stored.committedPlan }
  }

  crash(): void {
    this.#inc++
    this.#leaving = this.#world.sim.unevenChannel()
    for (const { end } of this.#sockets.values()) end.kill()
    this.#sockets = new Map()
    this.#opening = new Set()
    this.#buckets = new Buckets(this.#db)
    this.#outbox = new Outbox(this.#db, this.#stored.batch)
    this.#pipeline = this.#newPipeline()
    this.#watchers = this.#newWatchers()
    const newest = this.#outbox.newest()
    if (newest) this.#pipeline.recover(this.#stored.batch, newest, newest.answered)
    this.#commit()
    for (const relay of this.#relays.keys()) this.#keepOpen(relay)
    this.#watchers.publishAll()
    this.#decodeLater()
  }

  attach(relay: string): void {
    this.#relays.set(relay, ++this.#stored.serial)
    this.#keepOpen(relay)
  }

  watch(bucket: string): Serving {
    return this.#watchers.watch(bucket)
  }

  /** As at the start of a session. */
  publishAll(): void {
    this.#watchers.publishAll()
  }

  cutSockets(): void {
    for (const { end } of this.#sockets.values()) end.cut(this.#world.sim.chance(0.5))
  }

  wake(): void {
    this.#decodeLater()
  }

  #newPipeline(): Pipeline {
    const { sim } = this.#world
    const inc = this.#inc
    // Small ones come to everything that large transactions come to.
    const limits = sim.chance(0.5) ? { told: 2, appends: 2, length: 1_000_000 } : undefined
    return new Pipeline(
      {
        name: (bucket) => this.#buckets.name(bucket),
        read: (id) => this.#outbox.read(id),
        send: (append) => void this.#append(append, inc),
      },
      limits,
    )
  }

  #newWatchers(): Watchers {
    const inc = this.#inc
    const { sim } = this.#world
    // What another incarnation was doing ends with it, also what it was waiting for.
    const mine = <T>(work: Promise<T>): Promise<T> =>
      new Promise((resolve, reject) => {
        work.then(
          (value) => this.#inc === inc && resolve(value),
          (error: unknown) => this.#inc === inc && reject(error),
        )
      })
    return new Watchers({
      db: this.#db,
      nextSerial: () => ++this.#stored.serial,
      serving: () => this.serving,
      pause: () => mine(sim.sleep()),
      publish: (bucket, request) => mine(sim.rpc(() => this.#world.bucket(bucket).publish(request))),
    })
  }

  async #append(append: StoredAppend, inc: number): Promise<void> {
    const name = this.#buckets.name(append.bucket)
    const { first, last, count, checksum } = append
    const body = append.body()
    for (;;) {
      const state = await this.#world.sim
        .rpc(() => this.#world.bucket(name).append({ first, last, count, checksum, body, committed: this.#stored.committed }))
        .catch(() => null)
      if (this.#inc !== inc) return
      if (!state) continue
      this.#pipeline.answered(append.bucket, state)
      this.#commit()
      return
    }
  }

  #decodeLater(): void {
    const inc = this.#inc
    this.#world.sim.later(() => {
      const { source, plan } = this.#world
      if (this.#inc === inc && (this.#stored.txn < source.length || this.#stored.plan !== plan)) this.#decode()
    })
  }

  #decode(): void {
    const { sim, source, boundaries } = this.#world
    const rows = new RowStates(this.#db)
    const batch = new Batch(this.#stored.counter, {
      evaluate: (table, row) => evaluate(table.name, row),
      states: ({ number, name }, keys) => rows.all(number, keys, name),
      number: (bucket, definition) => this.#buckets.number(bucket, definition),
      skipped: () => {},
    })
    let { txn, part, plan } = this.#stored
    let final = true
    const switches = plan !== this.#world.plan && part === 0 && (txn === source.length || sim.chance(0.5))
    if (switches) {
      // A batch of its own, which takes one op id.
      plan = this.#world.plan
      batch.counter++
    }
    for (let take = switches ? 0 : 1 + sim.int(3); take > 0 && txn < source.length; take--) {
      const transaction = source[txn]
      const changes = transaction?.changes.slice(part) ?? []
      // A slice of a huge transaction.
      if (changes.length > 1 && sim.chance(0.4)) {
        changes.length = 1 + sim.int(changes.length - 1)
        part += changes.length
        final = false
      }
      for (const { table, key, row } of changes) {
        if (row) batch.upsert(TABLES[table], JSON.stringify([key]), row, null)
        else batch.remove(TABLES[table], JSON.stringify([key]))
      }
      if (!final) break
      if (transaction?.write) batch.deliver(mailboxName(transaction.write[0], transaction.write[1]), transaction.write[2])
      txn++
      part = 0
    }
    const stored = this.#db.transaction(() => {
      rows.put(batch.rows.values())
      this.#buckets.save()
      const commits = switches || (final && this.#stored.sliced)
      // What is stored of the source is in `#stored` here.
      const decode = { n: 0, counter: batch.counter, position: null, partial: null }
      return batch.appends.size > 0 || commits
        ? this.#outbox.add({ last: batch.counter, final, plan, decode, appends: batch.appends, answered: this.#pipeline.answeredUpTo })
        : null
    })
    const sliced = final ? false : this.#stored.sliced || stored !== null
    Object.assign(this.#stored, { counter: batch.counter, txn, part, plan, sliced })
    if (final) boundaries.set(batch.counter, { transactions: txn, plan })
    if (stored) this.#pipeline.dispatch(stored)
    // A slice may be answered before the rest is decoded, and a last one may have nothing to append.
    this.#commit()
    this.#decodeLater()
  }

  #commit(): void {
    const commit = this.#pipeline.commit(this.#stored.committed)
    if (!commit) return
    const parts = inParts(this.#world.sim, noticeFrames(commit))
    const switched = this.#stored.committedPlan !== commit.plan
    this.#stored.committed = commit.checkpoint
    this.#stored.batch = commit.upTo
    this.#stored.committedPlan = commit.plan
    this.#stored.notice = commit.buckets && { previous: commit.previous, parts }
    this.#outbox.drop(commit.upTo)
    // They leave once the commit is durable; a crash before that loses them.
    const inc = this.#inc
    this.#world.sim.post(this.#leaving, () => {
      if (this.#inc !== inc) return
      for (const { end } of this.#sockets.values()) for (const part of parts) end.send(part)
      if (switched || commit.buckets === null) this.#watchers.publishAll()
      else this.#watchers.committed(commit.buckets.map(([bucket]) => bucket))
    })
  }

  #keepOpen(relay: string): void {
    if (this.#opening.has(relay)) return
    this.#opening.add(relay)
    void this.#open(relay, this.#inc)
  }

  async #open(relay: string, inc: number): Promise<void> {
    const { sim, relays } = this.#world
    for (;;) {
      const serial = this.#relays.get(relay)
      if (serial === undefined || this.#sockets.get(relay)?.serial === serial) break
      const target = relays.find((each) => each.name === relay)
      const answer = await sim.rpc(() => target?.acceptReplicator()).catch(() => null)
      if (this.#inc !== inc) {
        answer?.end?.cut()
        return
      }
      if (!answer) continue
      if (!answer.end) {
        if (this.#relays.get(relay) === serial) this.#relays.delete(relay)
        continue
      }
      const end = answer.end
      this.#sockets.get(relay)?.end.close()
      this.#sockets.set(relay, { serial, end })
      end.onClose = () => {
        if (this.#inc !== inc || this.#sockets.get(relay)?.end !== end) return
        this.#sockets.delete(relay)
        this.#keepOpen(relay)
      }
      const { notice, committed, committedPlan } = this.#stored
      const fits = notice && answer.checkpoint !== null && notice.previous === answer.checkpoint
      const gap = JSON.parse(gapFrame(committed, committedPlan)) as ReplicatorFrame
      for (const part of fits ? notice.parts : [gap]) end.send(part)
      if (end.closed) end.onClose()
    }
    this.#opening.delete(relay)
  }
}

/** A large notice goes in parts. */
function inParts(sim: Sim, texts: readonly string[]): ReplicatorFrame[] {
  const frames = texts.map((text) => JSON.parse(text) as ReplicatorFrame)
  const frame = frames[0]
  if (frame?.type !== 'notice' || frames.length > 1 || frame.buckets.length < 2 || sim.chance(0.5)) return frames
  const at = 1 + sim.int(frame.buckets.length - 1)
  return [
    { ...frame, part: 1, parts: 2, buckets: frame.buckets.slice(0, at) },
    { ...frame, part: 2, parts: 2, buckets: frame.buckets.slice(at) },
  ]
}
