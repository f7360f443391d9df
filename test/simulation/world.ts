import { Batch, type BatchTable } from '../../durable-objects/replicator/batch.ts'
import { Buckets } from '../../durable-objects/replicator/buckets.ts'
import { migrate } from '../../durable-objects/database.ts'
import { gapFrame, noticeFrames } from '../../durable-objects/replicator/notice.ts'
import { Outbox, type StoredAppend } from '../../durable-objects/replicator/outbox.ts'
import { Pipeline } from '../../durable-objects/replicator/pipeline.ts'
import { RowStates } from '../../durable-objects/replicator/row-state.ts'
import { MIGRATIONS } from '../../durable-objects/replicator/storage.ts'
import { Log } from '../../durable-objects/bucket/log.ts'
import { RelayMachine } from '../../durable-objects/relay/machine.ts'
import { testDatabase } from '../../durable-objects/test-database.ts'
import type { RelayFrame, ReplicatorFrame, SubscribeFrame } from '../../protocol/messages.ts'
import { bucketHash, mailboxName } from '../../protocol/names.ts'
import type { SourceRow } from '../../protocol/values.ts'
import type { EvaluatedRow, LoadedPlan } from '../../sync-config/types.ts'
import { End, type Sim } from './sim.ts'

// A small source: items in groups, and members of groups. A user has the items of his groups, found by a lookup. There are two plans, which
// differ in their lookup, their buckets and what is in them.

export interface Change {
  table: 'items' | 'members'
  key: string
  /** Null: deleted. */
  row: Record<string, string> | null
}
export interface Transaction {
  changes: Change[]
  write: [user: string, client: string, n: number] | null
}

const TABLES: Record<Change['table'], BatchTable> = {
  items: { number: 1, schema: 'public', name: 'items' },
  members: { number: 2, schema: 'public', name: 'members' },
}

export type PlanHash = 'p' | 'q'
const PREFIXES: Record<PlanHash, { data: string; lookup: string }> = { p: { data: 'g', lookup: 'm' }, q: { data: 'h', lookup: 'n' } }

const outputOf = (hash: PlanHash, row: object) => JSON.stringify(hash === 'p' ? row : { ...row, q: '1' })

/** Rows of both plans, as while one definition replaces another. */
export function evaluate(table: string, row: SourceRow): EvaluatedRow {
  const { id, group, user } = row as Record<string, string>
  const rows = (['p', 'q'] as const).map((hash) => {
    const { data, lookup } = PREFIXES[hash]
    const bucket = table === 'items' ? `${data}[${group}]` : `${lookup}[${user}]`
    return { bucket, definition: hash, objectType: table, objectId: String(id), data: outputOf(hash, row) }
  })
  return { rows, errors: [] }
}

const planOf = (hash: PlanHash): LoadedPlan => ({
  hash,
  definitions: [],
  tables: [],
  reads: () => true,
  evaluateRow: (table, row) => evaluate(table.name, row),
  request: ({ claims }) => ({
    resolve(rows) {
      const lookup = `${PREFIXES[hash].lookup}[${String(claims.sub)}]`
      const members = rows(lookup)
      const groups = new Set((members ?? []).map((text): string => (JSON.parse(text) as { group: string }).group))
      const buckets = [...groups]
        .sort()
        .map((group) => ({ bucket: `${PREFIXES[hash].data}[${group}]`, definition: hash, priority: 3, reasons: [{ default: 0 }] }))
      return { lookups: [lookup], need: members ? [] : [lookup], buckets, streams: [] }
    },
  }),
})
export const PLANS: Record<string, LoadedPlan> = { p: planOf('p'), q: planOf('q') }

export class World {
  readonly sim: Sim
  readonly source: Transaction[] = []
  readonly logs = new Map<string, Log>()
  readonly replicator: SimReplicator
  readonly relays: SimRelay[]
  /** Checkpoint → number of source transactions that it stands for, and its plan. */
  readonly boundaries = new Map<number, { transactions: number; plan: PlanHash }>([[0, { transactions: 0, plan: 'p' }]])
  /** Deployed; it serves from a checkpoint on. */
  plan: PlanHash = 'p'
  /** Relays greet streams without asking what is committed. */
  readonly unfresh: boolean

  constructor(sim: Sim, relays: number, unfresh = false) {
    this.sim = sim
    this.unfresh = unfresh
    this.relays = Array.from({ length: relays }, (_, i) => new SimRelay(this, `default/main/${i}`))
    this.replicator = new SimReplicator(this)
  }

  log(bucket: string): Log {
    const log = this.logs.get(bucket) ?? new Log(testDatabase())
    this.logs.set(bucket, log)
    return log
  }

  /** What a user should have after so many transactions, and his newest write checkpoint. */
  truth(transactions: number, plan: PlanHash, user: string, client: string): { rows: string[]; write: string | null } {
    const rows = new Map<string, Record<string, string>>()
    let write: number | null = null
    for (const { changes, write: marker } of this.source.slice(0, transactions)) {
      for (const { table, key, row } of changes) {
        if (row) rows.set(`${table} ${key}`, row)
        else rows.delete(`${table} ${key}`)
      }
      if (marker && marker[0] === user && marker[1] === client) write = Math.max(write ?? 0, marker[2])
    }
    const groups = new Set([...rows].flatMap(([name, row]) => (name.startsWith('members') && row.user === user ? [row.group] : [])))
    const visible = [...rows]
      .filter(([name, row]) => name.startsWith('items') && groups.has(row.group))
      .map(([, row]) => outputOf(plan, row))
    return { rows: visible.sort(), write: write === null ? null : String(write) }
  }
}

export class SimReplicator {
  readonly #world: World
  readonly #db = testDatabase()
  #inc = 0
  #pipeline: Pipeline
  #outbox: Outbox
  #buckets: Buckets
  #sockets = new Map<string, { serial: number; end: End<ReplicatorFrame, never> }>()
  #opening = new Set<string>()
  // Stored: survives a crash.
  #stored = {
    ...{ counter: 0, txn: 0, part: 0, sliced: false, plan: 'p' as PlanHash, serial: 0 },
    ...{ committed: 0, committedPlan: 'p' as string | null, notice: null as { previous: number; parts: ReplicatorFrame[] } | null },
  }
  #relays = new Map<string, number>()

  constructor(world: World) {
    this.#world = world
    migrate(this.#db, MIGRATIONS)
    this.#buckets = new Buckets(this.#db)
    this.#outbox = new Outbox(this.#db)
    this.#pipeline = this.#newPipeline()
    this.#decodeLater()
  }

  get committed(): number {
    return this.#stored.committed
  }

  crash(): void {
    this.#inc++
    for (const { end } of this.#sockets.values()) end.kill()
    this.#sockets = new Map()
    this.#opening = new Set()
    this.#buckets = new Buckets(this.#db)
    this.#outbox = new Outbox(this.#db)
    this.#pipeline = this.#newPipeline()
    for (const batch of this.#outbox.recover()) this.#pipeline.dispatch(batch)
    this.#commit()
    for (const relay of this.#relays.keys()) this.#keepOpen(relay)
    this.#decodeLater()
  }

  attach(relay: string): void {
    this.#relays.set(relay, ++this.#stored.serial)
    this.#keepOpen(relay)
  }

  cutSockets(): void {
    for (const { end } of this.#sockets.values()) end.cut(this.#world.sim.chance(0.5))
  }

  wake(): void {
    this.#decodeLater()
  }

  #newPipeline(): Pipeline {
    const inc = this.#inc
    return new Pipeline({
      hash: (bucket) => bucketHash(this.#buckets.name(bucket)),
      send: (append) => void this.#append(append, inc),
    })
  }

  async #append(append: StoredAppend, inc: number): Promise<void> {
    const name = this.#buckets.name(append.bucket)
    const { first, last, count, checksum } = append
    const body = append.body()
    for (;;) {
      const state = await this.#world.sim.rpc(() => this.#world.log(name).append({ first, last, count, checksum, body })).catch(() => null)
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
      state: (ref, table) => rows.get(ref, table.name),
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
      for (const { ref, table, state } of batch.rows.values()) rows.put(ref, state, table.name)
      this.#buckets.save()
      const commits = switches || (final && this.#stored.sliced)
      // What is stored of the source is in `#stored` here.
      const decode = { n: 0, counter: batch.counter, position: null, partial: null }
      return batch.appends.size > 0 || commits
        ? this.#outbox.add({ last: batch.counter, final, plan, decode, appends: batch.appends })
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
    this.#stored.committed = commit.checkpoint
    this.#stored.committedPlan = commit.plan
    this.#stored.notice = { previous: commit.previous, parts }
    this.#outbox.drop(commit.upTo)
    for (const { end } of this.#sockets.values()) for (const part of parts) end.send(part)
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

interface RelayStream {
  end: End<RelayFrame, SubscribeFrame | 'ack'>
  unacknowledged: number
  saved: { hashes: readonly string[]; toldPlan: string | null }
}

const CREDIT_FRAMES = 3
/** Few, so that states are forgotten and asked again. */
const KNOWN_STATES = 7

export class SimRelay {
  readonly name: string
  readonly #world: World
  #inc = 0
  #machine: RelayMachine<RelayStream>
  #streams = new Set<RelayStream>()
  #replicator: { end: End<never, ReplicatorFrame>; saved: { checkpoint: number; plan: string | null } | null } | null = null
  /** Calls under way: the platform does not let the object sleep meanwhile. */
  #busy = 0

  constructor(world: World, name: string) {
    this.#world = world
    this.name = name
    this.#machine = this.#newMachine()
  }

  #newMachine(): RelayMachine<RelayStream> {
    const { sim } = this.#world
    const inc = ++this.#inc
    const untilAnswered = async <T>(call: () => T, stale: () => boolean, done: (result: T) => void): Promise<void> => {
      this.#busy++
      while (this.#inc === inc && !stale()) {
        const result = await sim.rpc(() => ({ result: call() })).catch(() => null)
        if (this.#inc !== inc) return
        if (!result) continue
        this.#busy--
        done(result.result)
        return
      }
      if (this.#inc === inc) this.#busy--
    }
    return new RelayMachine<RelayStream>(
      {
        send: (stream, frame) => {
          stream.unacknowledged++
          stream.end.send(frame)
        },
        hasCredit: (stream) => stream.unacknowledged < CREDIT_FRAMES,
        close: (stream) => {
          this.#streams.delete(stream)
          stream.end.close()
        },
        saveStream: (stream, hashes, toldPlan) => {
          stream.saved = { hashes, toldPlan }
        },
        saveCheckpoint: (checkpoint, saved) => {
          if (this.#replicator) this.#replicator.saved = { checkpoint, plan: saved }
        },
        ask: (bucket, checkpoint, stale, answer) => void untilAnswered(() => this.#world.log(bucket).state(checkpoint), stale, answer),
        attach: (done) =>
          void untilAnswered(
            () => this.#world.replicator.attach(this.name),
            () => false,
            done,
          ),
        committed: (answer) =>
          void untilAnswered(
            () => (this.#world.unfresh ? 0 : this.#world.replicator.committed),
            () => false,
            answer,
          ),
      },
      KNOWN_STATES,
    )
  }

  acceptStream(): End<SubscribeFrame | 'ack', RelayFrame> {
    const [end, theirs] = End.pair<RelayFrame, SubscribeFrame | 'ack'>(this.#world.sim)
    const stream: RelayStream = { end, unacknowledged: 0, saved: { hashes: [], toldPlan: null } }
    this.#streams.add(stream)
    end.onMessage = (message) => {
      if (message === 'ack') {
        stream.unacknowledged--
        this.#machine.flush(stream)
      } else this.#machine.subscribe(stream, message.seq, message.add, message.remove)
    }
    end.onClose = () => {
      if (this.#streams.delete(stream)) this.#machine.streamGone(stream)
    }
    this.#machine.streamArrived(stream)
    return theirs
  }

  acceptReplicator(): { end: End<ReplicatorFrame, never> | null; checkpoint: number | null } {
    if (!this.#machine.wants) return { end: null, checkpoint: null }
    const [end, theirs] = End.pair<never, ReplicatorFrame>(this.#world.sim)
    const older = this.#replicator?.end
    this.#replicator = { end, saved: null }
    const checkpoint = this.#machine.checkpoint
    this.#machine.replicatorArrived()
    older?.close()
    end.onMessage = (frame) => this.#machine.receive(frame)
    end.onClose = () => {
      if (this.#replicator?.end === end) this.#replicator = null
    }
    return { end: theirs, checkpoint }
  }

  crash(): void {
    for (const stream of this.#streams) stream.end.kill()
    this.#replicator?.end.kill()
    this.#streams = new Set()
    this.#replicator = null
    this.#busy = 0
    this.#machine = this.#newMachine()
  }

  hibernate(): void {
    if (this.#busy > 0 || this.#machine.owing) return
    this.#machine = this.#newMachine()
    this.#machine.wake(
      this.#replicator?.saved ?? null,
      [...this.#streams].map((stream) => [stream, stream.saved]),
    )
    this.#machine.wants ||= this.#replicator !== null
  }
}
