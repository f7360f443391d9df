import { Batch, subkeyOf } from '../../durable-objects/replicator/ingest/batch.ts'
import { Buckets } from '../../durable-objects/replicator/store/buckets.ts'
import { migrate, type Database } from '../../durable-objects/shared/database.ts'
import { afterCommit, compared, held, isComparing, tellingOf } from '../../durable-objects/replicator/commit/hold.ts'
import { servedOf } from '../../durable-objects/replicator/store/served.ts'
import type { SourceTable } from '../../durable-objects/replicator/ingest/source-table.ts'
import { Fences } from '../../durable-objects/replicator/store/fences.ts'
import { gapFrame, noticeFrames } from '../../durable-objects/replicator/commit/notice.ts'
import { Outbox, type StoredAppend } from '../../durable-objects/replicator/store/outbox.ts'
import { Pipeline } from '../../durable-objects/replicator/commit/pipeline.ts'
import { probeOf } from '../../durable-objects/replicator/commit/probe.ts'
import { RowStates } from '../../durable-objects/replicator/store/row-state.ts'
import { MIGRATIONS, StateStore, type State } from '../../durable-objects/replicator/store/storage.ts'
import { Tables } from '../../durable-objects/replicator/store/tables.ts'
import type { CopyState } from '../../durable-objects/replicator/copy/copy-state.ts'
import { Watchers } from '../../durable-objects/replicator/commit/watchers.ts'
import type { NoticeBucket, ReplicatorFrame } from '../../protocol/messages/relay.ts'
import type { Serving } from '../../protocol/messages/replicator.ts'
import type { End, Sim } from './sim.ts'
import { CATALOG, evaluate, TABLES, type Change, type PlanHash } from './source.ts'
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
  #fences: Fences
  /** The append that is on its way to each bucket. */
  #sending = new Map<number, { append: StoredAppend; wanted: boolean }>()
  /** Fenced buckets → the op behind which they have everything again. */
  #mended = new Map<number, number>()
  #tables: Tables
  #sourceTables: SourceTable[]
  /** What was read, on its way to its place in the stream. */
  #reading: Reading | null = null
  #comparing = false
  /** What an earlier session has read is of no use. */
  #session = 0
  // Stored: survives a crash.
  #stored = {
    ...{ counter: 0, txn: 0, part: 0, sliced: false, plan: 'p' as PlanHash, serial: 0, lost: false },
    commit: { committed: 0, plan: 'p', named: null, batch: 0, hold: null, published: null } as State['commit'],
  }
  #relays = new Map<string, number>()

  constructor(world: World, db: Database) {
    this.#world = world
    this.#db = db
    this.#leaving = world.sim.unevenChannel()
    migrate(this.#db, MIGRATIONS)
    this.#fences = new Fences(new StateStore(this.#db))
    this.#buckets = new Buckets(this.#db)
    this.#outbox = new Outbox(this.#db, this.#stored.commit.batch)
    this.#tables = new Tables(this.#db)
    this.#sourceTables = this.#follow()
    for (const table of this.#sourceTables) this.#tables.progress(table, { ...this.#tables.copyState(table), state: 'done' })
    this.#pipeline = this.#newPipeline()
    this.#watchers = this.#newWatchers()
    this.#decodeLater()
  }

  get serving(): Serving {
    return servedOf(this.#stored.commit)
  }

  /** There is no slot: what happens now is never told. */
  get isLost(): boolean {
    return this.#stored.lost
  }

  /** The slot is lost, or a new one is made: then everything is compared. */
  loseOrRenewSlot(): void {
    const { source } = this.#world
    this.#endSession()
    this.#stored.lost = !this.#stored.lost
    if (this.#stored.lost) return
    this.#world.count('slots lost')
    if (!isComparing(this.#stored.commit)) this.#stored.commit = held(this.#stored.commit, '')
    this.#tables.compareAll()
    // Their markers were lost with the slot, and are emitted once more.
    const writes = source.slice(this.#stored.txn).flatMap((each) => (each.write ? [each] : []))
    Object.assign(this.#stored, { txn: source.length, part: 0 })
    for (const each of writes) {
      source.push({ changes: [], write: each.write })
      each.write = null
    }
    this.#decodeLater()
  }

  crash(): void {
    this.#inc++
    this.#fences = new Fences(new StateStore(this.#db))
    this.#sending = new Map()
    this.#mended = new Map()
    this.#leaving = this.#world.sim.unevenChannel()
    for (const { end } of this.#sockets.values()) end.kill()
    this.#sockets = new Map()
    this.#opening = new Set()
    this.#buckets = new Buckets(this.#db)
    this.#outbox = new Outbox(this.#db, this.#stored.commit.batch)
    this.#tables = new Tables(this.#db)
    this.#sourceTables = this.#follow()
    this.#endSession()
    this.#pipeline = this.#newPipeline()
    this.#watchers = this.#newWatchers()
    const newest = this.#outbox.newest()
    if (newest) this.#pipeline.recover(this.#stored.commit.batch, newest, newest.answered)
    this.#commit()
    for (const relay of this.#relays.keys()) this.#keepOpen(relay)
    for (const bucket of this.#fences.silent) void this.#probe(bucket)
    this.#watchers.resume(this.#stored.commit)
    this.#decodeLater()
  }

  /** Whoever does not answer now is taken to have been silent for too long. */
  fence(): void {
    const [sending] = [...this.#sending.values()].filter(({ append }) => /^[ghmn]\[/.test(this.#buckets.name(append.bucket)))
    if (!sending) return
    const { bucket } = sending.append
    if (!this.#fences.isDue(bucket, 1, 1)) return
    this.#world.count('buckets fenced')
    this.#fences.begin({ bucket, since: '', barrier: this.#stored.counter, served: this.serving.checkpoint })
    this.#stored.commit = { ...this.#stored.commit, named: null }
    sending.wanted = false
    this.#sending.delete(bucket)
    this.#mended.delete(bucket)
    this.#pipeline.drop(bucket)
    this.#tellFences()
    this.#commit()
    void this.#probe(bucket)
  }

  async #probe(bucket: number): Promise<void> {
    const inc = this.#inc
    const name = this.#buckets.name(bucket)
    while (this.#inc === inc && this.#fences.isSilent(bucket)) {
      const fence = this.#fences.of(bucket)
      const answer = fence && (await this.#world.call(name, (each) => each.append(probeOf(fence))).catch(() => null))
      if (!answer || this.#inc !== inc) continue
      this.#fences.answered(bucket)
      this.#decodeLater()
    }
  }

  get #fenced(): string[] {
    return this.#fences.all.map(({ bucket }) => this.#buckets.name(bucket))
  }

  #isFenced(bucket: string): boolean {
    return this.#fenced.includes(bucket)
  }

  #tellFences(): void {
    this.#leave(() => {
      const gap = gapOf(this.serving, this.#fenced)
      for (const { end } of this.#sockets.values()) end.send(gap)
      this.#watchers.publishAll()
    })
  }

  /** Everything that the bucket should hold is put there once more, and everything else is taken out: in one batch, behind which it may be announced. */
  #mend(batch: Batch, bucket: number): void {
    const name = this.#buckets.name(bucket)
    const table = /^[gh]/.test(name) ? 'items' : 'members'
    const held = this.#world.bucket(name).rows(Number.MAX_SAFE_INTEGER)
    const ids = new Set(held.kind === 'rows' ? held.rows.map((text) => String((JSON.parse(text) as { id: string }).id)) : [])
    for (const key of this.#world.keys(this.#stored.txn, table)) {
      const row = this.#world.row(this.#stored.txn, table, key)
      const text = JSON.stringify([key])
      const state = batch.state(TABLES[table], text)
      if (!row || !state?.outputs.some((output) => output.bucket === bucket)) continue
      ids.delete(key)
      batch.restate(TABLES[table], text, { ...state, outputs: state.outputs.filter((output) => output.bucket !== bucket) })
      batch.upsert(TABLES[table], text, row, imageOf(row))
    }
    for (const id of ids) batch.removeStray({ bucket, type: table, id, subkey: subkeyOf(TABLES[table], JSON.stringify([id])) })
    batch.announce(bucket)
    this.#mended.set(bucket, batch.counter)
  }

  #unfence(): void {
    const { committed, hold } = this.#stored.commit
    const mended = [...this.#mended].flatMap(([bucket, at]) => (at <= committed ? [bucket] : []))
    if (hold !== null || mended.length === 0) return
    for (const bucket of mended) this.#mended.delete(bucket)
    this.#fences.end(mended)
    this.#stored.commit = { ...this.#stored.commit, published: null }
    this.#watchers.untold()
    this.#tellFences()
  }

  attach(relay: string): void {
    this.#relays.set(relay, ++this.#stored.serial)
    this.#keepOpen(relay)
  }

  watch(bucket: string): Serving {
    if (this.#isFenced(bucket)) throw new Error('the bucket lacks ops')
    return this.#watchers.watch(bucket)
  }

  /** As once a day. */
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
        skips: (bucket) => this.#fences.isSilent(bucket),
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
      fenced: (bucket) => this.#isFenced(bucket),
      pause: () => mine(sim.sleep()),
      publish: (bucket, request) => mine(this.#world.call(bucket, (each) => each.publish(request))),
    })
  }

  async #append(append: StoredAppend, inc: number): Promise<void> {
    const name = this.#buckets.name(append.bucket)
    const { first, last, count, checksum } = append
    const body = append.body()
    const sending = { append, wanted: true }
    this.#sending.set(append.bucket, sending)
    const committed = () => this.#fences.of(append.bucket)?.served ?? this.serving.checkpoint
    for (;;) {
      const state = await this.#world
        .call(name, (each) => each.append({ first, last, count, checksum, body, committed: committed() }))
        .catch(() => null)
      if (this.#inc !== inc || !sending.wanted) return
      if (!state) continue
      this.#sending.delete(append.bucket)
      this.#pipeline.answered(append.bucket, state)
      this.#commit()
      return
    }
  }

  #decodeLater(): void {
    const inc = this.#inc
    this.#world.sim.later(() => {
      const { source, plan } = this.#world
      if (this.#inc !== inc || this.#stored.lost) return
      if (this.#stored.txn < source.length || this.#stored.plan !== plan || this.#reading || this.#toMend.length > 0) this.#decode()
      this.#endHold()
      this.#unfence()
      void this.#compare()
    })
  }

  /** Those of which nothing is on its way, so that what they hold is what was stored. */
  get #toMend(): number[] {
    const { commit, counter, part } = this.#stored
    if (part !== 0 || commit.hold !== null || commit.committed !== counter || this.#tables.copying || this.#tables.hasIncomplete) return []
    return this.#fences.answering.filter((bucket) => !this.#mended.has(bucket))
  }

  #follow(): SourceTable[] {
    return this.#tables.use(
      CATALOG,
      () => true,
      () => true,
    )
  }

  /** Reads rows that lack values, and the tables that are to be compared, part by part. */
  async #compare(): Promise<void> {
    if (this.#comparing) return
    this.#comparing = true
    for (;;) {
      const table = this.#sourceTables.find((each) => this.#tables.copyState(each).state !== 'done')
      const lacking = table && this.#world.sim.chance(0.5) ? null : this.#tables.incomplete(1 + this.#world.sim.int(2))
      if (lacking && !(await this.#read(lacking.table, (key) => lacking.keys.includes(JSON.stringify([key])), null))) return
      if (table) {
        const copy = this.#tables.copyState(table)
        const next: CopyState = copy.block === PARTS - 1 ? { ...copy, state: 'done' } : { ...copy, state: 'copying', block: copy.block + 1 }
        if (!(await this.#read(table, (key) => partOf(key) === copy.block, next))) return
      }
      if (!lacking && !table) break
    }
    this.#comparing = false
  }

  /** False: the slot or this incarnation was lost meanwhile. */
  async #read(of: SourceTable, wanted: (key: string) => boolean, next: CopyState | null): Promise<boolean> {
    const { sim, source } = this.#world
    const session = this.#session
    const name = of.name as Change['table']
    const snapshot = source.length
    await sim.sleep()
    if (this.#session !== session) return false
    return new Promise((done) => {
      this.#reading = { at: source.length, snapshot, name, table: of, wanted, next, done: () => done(true) }
      this.#decodeLater()
    })
  }

  #endSession(): void {
    this.#session++
    this.#reading = null
    this.#comparing = false
  }

  /** What was read is right here, but for what the stream has told since. */
  #apply(batch: Batch, rows: RowStates, { at, snapshot, name, table, wanted }: Reading): void {
    const { source } = this.#world
    const touched = new Set(
      source.slice(snapshot, at).flatMap(({ changes }) => changes.flatMap((each) => (each.table === name ? [each.key] : []))),
    )
    const stored = rows.keys(table.number, '', 1_000).map((key) => (JSON.parse(key) as string[])[0] ?? '')
    for (const key of new Set([...this.#world.keys(snapshot, name), ...stored])) {
      if (!wanted(key) || touched.has(key)) continue
      const row = this.#world.row(snapshot, name, key)
      if (row) batch.upsert(TABLES[name], JSON.stringify([key]), row, imageOf(row))
      else batch.remove(TABLES[name], JSON.stringify([key]))
    }
    for (const { keys } of [this.#tables.incomplete(1_000)].flatMap((each) => each ?? []))
      for (const text of keys) {
        const key = (JSON.parse(text) as string[])[0] ?? ''
        if (wanted(key) && !touched.has(key)) this.#tables.setIncomplete(table.number, text, false)
      }
  }

  #endHold(): void {
    const { commit, counter, txn, part, plan } = this.#stored
    if (!isComparing(commit) || part !== 0 || this.#tables.doubtful(() => true) || this.#tables.hasIncomplete) return
    this.#stored.commit = compared(commit, counter)
    this.#world.boundaries.set(counter, { transactions: txn, plan })
    this.#tell(commit, [], [])
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
    let whole = true
    const reading = this.#reading?.at === txn && part === 0 ? this.#reading : null
    const isReady = !this.#tables.copying && !this.#tables.hasIncomplete
    const switches = !reading && isReady && plan !== this.#world.plan && part === 0 && (txn === source.length || sim.chance(0.5))
    if (switches) {
      // A batch of its own, which takes one op id.
      plan = this.#world.plan
      batch.counter++
    }
    const mending = reading || switches ? [] : this.#toMend
    for (const bucket of mending) this.#mend(batch, bucket)
    if (reading) this.#apply(batch, rows, reading)
    const end = this.#reading?.at ?? source.length
    for (let take = switches || reading || mending.length > 0 ? 0 : 1 + sim.int(3); take > 0 && txn < end; take--) {
      const transaction = source[txn]
      const changes = transaction?.changes.slice(part) ?? []
      // A slice of a huge transaction.
      if (changes.length > 1 && sim.chance(0.4)) {
        changes.length = 1 + sim.int(changes.length - 1)
        part += changes.length
        whole = false
      }
      for (const each of changes) this.#change(batch, each)
      if (!whole) break
      if (transaction?.write) batch.deliver(transaction.write[0], transaction.write[1], BigInt(transaction.write[2]))
      txn++
      part = 0
    }
    const comparing = isComparing(this.#stored.commit)
    const final = whole && (comparing || !this.#tables.hasIncomplete)
    const stored = this.#db.transaction(() => {
      rows.put(batch.rows.values())
      this.#buckets.save()
      const commits = switches || (final && this.#stored.sliced)
      // What is stored of the source is in `#stored` here.
      const decode = { n: 0, counter: batch.counter, position: null, partial: null }
      return batch.appends.size > 0 || commits
        ? this.#outbox.add({
            last: batch.counter,
            final,
            plan,
            decode,
            appends: this.#fences.sendable(batch.appends),
            answered: this.#pipeline.answeredUpTo,
          })
        : null
    })
    const sliced = final ? false : this.#stored.sliced || stored !== null
    Object.assign(this.#stored, { counter: batch.counter, txn, part, plan, sliced })
    if (final && !comparing) boundaries.set(batch.counter, { transactions: txn, plan })
    if (reading?.next) this.#tables.progress(reading.table, reading.next)
    if (stored) this.#pipeline.dispatch(stored)
    // A slice may be answered before the rest is decoded, and a last one may have nothing to append.
    this.#commit()
    if (reading) {
      this.#reading = null
      reading.done()
    }
    this.#decodeLater()
  }

  /** A value that was left out is the one that was kept, if that is what the stream told last. */
  #change(batch: Batch, { table, key: name, row, unsent }: Change): void {
    const key = JSON.stringify([name])
    const of = this.#sourceTables.find((each) => each.name === table)
    if (!of) return
    if (!row) batch.remove(TABLES[table], key)
    else if (!unsent) batch.upsert(TABLES[table], key, row, imageOf(row))
    else {
      const kept = this.#tables.hasImages(of) && !this.#tables.isIncomplete(of.number, key)
      const big = kept ? batch.state(TABLES[table], key)?.image?.big : undefined
      if (big === undefined) return this.#tables.setIncomplete(of.number, key, true)
      batch.upsert(TABLES[table], key, { ...row, big }, imageOf({ ...row, big }))
    }
    this.#tables.setIncomplete(of.number, key, false)
  }

  #commit(): void {
    const before = this.#stored.commit
    const commit = this.#pipeline.commit(before.committed)
    if (!commit) return
    const parts = inParts(this.#world.sim, noticeFrames(commit, this.#fenced))
    const named =
      commit.buckets && this.#fences.all.length === 0
        ? { previous: commit.previous, parts: parts.map((each) => JSON.stringify(each)) }
        : null
    const published = this.#watchers.told
    this.#stored.commit = afterCommit(before, { committed: commit.checkpoint, plan: commit.plan, named, batch: commit.upTo, published })
    this.#outbox.drop(commit.upTo)
    this.#tell(before, parts, commit.buckets)
    if (this.#fences.all.length > 0) this.#decodeLater()
  }

  #tell(before: State['commit'], notice: ReplicatorFrame[], buckets: readonly NoticeBucket[] | null): void {
    const after = this.#stored.commit
    const telling = tellingOf(before, after)
    if (telling === null) return
    const parts = telling === 'notice' ? notice : [gapOf(this.serving, this.#fenced)]
    const switched = telling === 'gap' || before.plan !== after.plan
    this.#leave(() => {
      for (const { end } of this.#sockets.values()) for (const part of parts) end.send(part)
      this.#watchers.committed(switched || buckets === null ? null : buckets.map(([bucket]) => bucket), servedOf(after))
    })
  }

  /** Once what is stored is durable; a crash before that loses it. */
  #leave(tell: () => void): void {
    const inc = this.#inc
    this.#world.sim.post(this.#leaving, () => {
      if (this.#inc === inc) tell()
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
      const now = this.#stored.commit
      const fits = now.named?.previous === answer.checkpoint && now.named
      const parts = fits ? fits.parts.map((text) => JSON.parse(text) as ReplicatorFrame) : [gapOf(servedOf(now), this.#fenced)]
      for (const part of parts) end.send(part)
      if (end.closed) end.onClose()
    }
    this.#opening.delete(relay)
  }
}

const gapOf = ({ checkpoint, plan }: Serving, fenced: readonly string[]) =>
  JSON.parse(gapFrame(checkpoint, plan, fenced)) as ReplicatorFrame

interface Reading {
  /** Transactions before its place in the stream, and in its snapshot. */
  at: number
  snapshot: number
  name: Change['table']
  table: SourceTable
  wanted: (key: string) => boolean
  /** How far the table is compared then; null: rows that lack values. */
  next: CopyState | null
  done: () => void
}

/** Tables are compared in so many parts. */
const PARTS = 2
const partOf = (key: string): number => [...key].reduce((sum, letter) => sum + letter.charCodeAt(0), 0) % PARTS

/** Values of one row are too large to be kept. */
const imageOf = ({ id, big }: Record<string, string>) => (big === undefined || id === 'i4' ? null : { big })

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
