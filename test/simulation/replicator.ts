import { Batch } from '../../durable-objects/replicator/ingest/batch.ts'
import { subkeyOf } from '../../durable-objects/replicator/ingest/outputs.ts'
import type { FollowedTable } from '../../durable-objects/replicator/ingest/followed-table.ts'
import { Committer, type ToCommit } from '../../durable-objects/replicator/commit/committer.ts'
import type { Sending } from '../../durable-objects/replicator/commit/dispatcher.ts'
import { Fencing } from '../../durable-objects/replicator/commit/fencing.ts'
import { isComparing } from '../../durable-objects/replicator/commit/hold.ts'
import type { RelayConnection } from '../../durable-objects/replicator/commit/relay-link.ts'
import { RelaySockets } from '../../durable-objects/replicator/commit/relay-sockets.ts'
import { Watchers } from '../../durable-objects/replicator/commit/watchers.ts'
import type { StoredAppend } from '../../durable-objects/replicator/store/outbox.ts'
import type { Decode } from '../../durable-objects/replicator/store/storage.ts'
import { Store } from '../../durable-objects/replicator/store/store.ts'
import { bareState } from '../../sources/stored.ts'
import type { CopyState } from '../../durable-objects/replicator/copy/copy-state.ts'
import type { Clock } from '../../durable-objects/shared/clock.ts'
import type { Database } from '../../durable-objects/shared/database.ts'
import type { Repeat } from '../../durable-objects/shared/retry.ts'
import type { BucketState } from '../../protocol/messages/bucket.ts'
import type { ReplicatorFrame } from '../../protocol/messages/relay.ts'
import type { Serving } from '../../protocol/messages/replicator.ts'
import type { End } from './sim.ts'
import { SOURCE_TABLES, evaluate, TABLES, type Change, type PlanHash } from './source.ts'
import type { World } from './world.ts'

// The file is long because it is one object, whose calls, sockets and storage the simulation must control together.

/** In parts and windows of this size a few rows come to everything that large transactions come to. */
const SMALL = { pipeline: { buckets: 2, appends: 2, length: 1_000_000 }, noticePart: 200 }
/** Any silence is too long: see `SimReplicator.fence`. */
const LIMITS = { batchesInFlight: 1, appendsInFlight: 1, fenceSeconds: 0.001 }

/**
 * The replicator object with the real `Store`, `Committer`, `RelaySockets`, `Fencing` and `Watchers`, over storage that
 * survives. Calls, sockets and time are the simulation's; so are what is read of the source, and the comparison of a
 * bucket that was fenced.
 */
export class SimReplicator {
  readonly #world: World
  readonly #db: Database
  #life: Life
  /** There is no slot: what happens now is never told. */
  #isLost = false
  /** What was read, on its way to its place in the stream. */
  #reading: Reading | null = null
  #comparing = false
  /** What an earlier session has read is of no use. */
  #session = 0

  constructor(world: World, db: Database) {
    this.#world = world
    this.#db = db
    this.#life = this.#begin()
    const { store, tables } = this.#life
    store.state.set('commit', { ...store.state.get('commit'), plan: 'p' })
    for (const table of tables) store.tables.progress(table, { ...store.tables.copyState(table), state: 'done' })
    this.#decodeLater()
  }

  get serving(): Serving {
    return this.#life.store.serving
  }

  get isLost(): boolean {
    return this.#isLost
  }

  /** Tables are read. */
  get isCopying(): boolean {
    return this.#life.store.tables.copying
  }

  /** The slot is lost, or a new one is made: then everything is compared. */
  loseOrRenewSlot(): void {
    const { source } = this.#world
    const { store, committer } = this.#life
    this.#endSession()
    this.#isLost = !this.#isLost
    if (this.#isLost) return
    this.#world.count('slots lost')
    const { txn } = this.#place
    committer.hold()
    store.state.set('comparing', true)
    store.state.set('decode', {
      counter: store.state.get('decode').counter,
      position: positionOf(source.length),
      partial: null,
    })
    store.tables.compareAll()
    // Their markers were lost with the slot, and are emitted once more.
    const writes = source.slice(txn).flatMap((each) => (each.write ? [each] : []))
    for (const each of writes) {
      source.push({ changes: [], write: each.write })
      each.write = null
    }
    this.#decodeLater()
  }

  crash(): void {
    this.#life.end()
    this.#endSession()
    this.#life = this.#begin()
    this.#decodeLater()
  }

  /** Whoever does not answer now is taken to have been silent for too long. */
  fence(): void {
    const { sending, store } = this.#life
    const [silent] = [...sending].filter(([bucket, { wanted }]) => /^[ghmn]\[/.test(bucket) && wanted())
    const before = store.fences.silent.length
    silent?.[1].unanswered(1)
    if (store.fences.silent.length > before) this.#world.count('buckets fenced')
  }

  attach(relay: string): void {
    this.#life.relays.attach(relay)
  }

  watch(bucket: string): Serving {
    const { store, watchers } = this.#life
    if (store.isFenced(bucket)) throw new Error('the bucket lacks ops')
    return watchers.watch(bucket)
  }

  /** As once a day. */
  publishAll(): void {
    this.#life.watchers.publishAll()
  }

  cutSockets(): void {
    for (const end of this.#life.sockets) end.cut(this.#world.sim.chance(0.5))
  }

  wake(): void {
    this.#decodeLater()
  }

  /** An incarnation that begins: the parts of the object, as its wiring makes them. */
  #begin(): Life {
    const { sim } = this.#world
    const life = new Life()
    const store = new Store(this.#db, {
      reads: (plan) => plan !== null,
      reset: (error) => this.#world.violate(`the replicator was reset: ${String(error)}`),
    })
    const leaving = sim.unevenChannel()
    const clock: Clock = {
      now: () => 0,
      after: (_, fire) => {
        let wanted = true
        sim.later(() => {
          if (wanted && life.isOn) fire()
        })
        return () => (wanted = false)
      },
      // Sockets are cut by the schedule.
      every: () => () => {},
    }
    const untilAnswered: Repeat = async (call, { wanted, failed }) => {
      for (let attempts = 1; wanted(); attempts++) {
        try {
          return await life.own(call({ expired: false }))
        } catch (error) {
          failed?.(error, attempts)
          await life.own(sim.sleep())
        }
      }
      return null
    }
    const watchers = new Watchers({
      db: this.#db,
      nextSerial: () => store.nextSerial(),
      serving: () => store.serving,
      fenced: (bucket) => store.isFenced(bucket),
      pause: () => life.own(sim.sleep()),
      publish: (bucket, request) => life.own(this.#world.call(bucket, (each) => each.publish(request))),
    })
    const fencing = new Fencing({
      store,
      watchers,
      clock,
      untilAnswered,
      comparison: life.comparison,
      append: (bucket, request) => life.own(this.#world.call(bucket, (each) => each.append(request))),
      touched: () => {},
    })
    const relays = new RelaySockets({ store, clock, untilAnswered, connect: (relay) => this.#connect(relay, life) })
    const committer = new Committer(
      {
        store,
        relays,
        watchers,
        fencing,
        clock,
        append: (bucket, append, sending) => this.#append(bucket, append, sending, life),
        durable: () => life.own(new Promise((resolve) => sim.post(leaving, resolve))),
      },
      sim.chance(0.5) ? SMALL : {},
    )
    committer.limit(LIMITS)
    fencing.onAnswer(() => this.#decodeLater())
    committer.onRoom(() => {
      if (store.fences.all.length > 0) this.#decodeLater()
    })
    const tables = store.tables.use(
      SOURCE_TABLES,
      () => true,
      () => true,
    )
    committer.recover()
    return Object.assign(life, { store, watchers, fencing, relays, committer, tables })
  }

  async #connect(name: string, life: Life): Promise<RelayConnection | null> {
    const { sim, relays } = this.#world
    const target = relays.find((each) => each.name === name)
    const answer = await sim.rpc(() => target?.acceptReplicator())
    if (!life.isOn) {
      answer?.end?.cut()
      return life.own(Promise.resolve(null))
    }
    if (!answer) throw new Error(`there is no relay ${name}`)
    const { end, checkpoint } = answer
    if (!end) return null
    return {
      checkpoint,
      hashed: false,
      fences: true,
      link: {
        listen: (_, fallen) => {
          life.sockets.add(end)
          end.onClose = () => {
            life.sockets.delete(end)
            fallen()
          }
          if (end.closed) sim.later(() => life.isOn && end.onClose())
        },
        send: (text) => end.send(JSON.parse(text) as ReplicatorFrame),
        close: () => {
          life.sockets.delete(end)
          end.close()
        },
      },
    }
  }

  /** Again and again until it is answered. */
  async #append(bucket: string, append: StoredAppend, sending: Sending, life: Life): Promise<BucketState | null> {
    const { first, last, count, checksum } = append
    const body = append.body()
    life.sending.set(bucket, sending)
    while (sending.wanted()) {
      const request = { first, last, count, checksum, body, committed: sending.committed() }
      const state = await life.own(this.#world.call(bucket, (each) => each.append(request)).catch(() => null))
      if (state === null || !sending.wanted()) continue
      life.sending.delete(bucket)
      return state
    }
    if (life.sending.get(bucket) === sending) life.sending.delete(bucket)
    return null
  }

  #decodeLater(): void {
    const life = this.#life
    this.#world.sim.later(() => {
      const { source, plan } = this.#world
      const { store, committer, fencing, comparison } = life
      if (!life.isOn || this.#isLost) return
      const { txn } = this.#place
      if (txn < source.length || store.planStored !== plan || this.#reading || this.#toMend.length > 0) this.#decode()
      this.#endHold()
      committer.tellComparing()
      comparison.step(store.state.get('commit').committed, (buckets) => fencing.compared(buckets, 'equal'))
      fencing.compare()
      if (this.#toMend.length > 0) this.#decodeLater()
      void this.#compare()
    })
  }

  /** How far the stream was taken in: whole transactions, and changes of the next one. */
  get #place(): { txn: number; part: number } {
    const { position, partial } = this.#life.store.state.get('decode')
    return { txn: decodeNumber(position, 'lsn'), part: decodeNumber(partial, 'changes') }
  }

  /** Buckets that are compared, when nothing is on its way, so that what they hold is what was stored. */
  get #toMend(): readonly number[] {
    const { store, comparison } = this.#life
    const { committed, hold } = store.state.get('commit')
    const { counter, partial } = store.state.get('decode')
    if (
      partial !== null ||
      hold !== null ||
      committed !== counter ||
      store.tables.copying ||
      store.tables.hasIncomplete
    )
      return []
    return comparison.toMend
  }

  /**
   * Everything that the bucket should hold is put there once more, and everything else is taken out: in one batch,
   * behind which it may be announced.
   */
  #mend(batch: Batch, bucket: number): void {
    const { txn } = this.#place
    const name = this.#life.store.buckets.name(bucket)
    const table = /^[gh]/.test(name) ? 'items' : 'members'
    const held = this.#world.bucket(name).rows(Number.MAX_SAFE_INTEGER)
    const ids = new Set(
      held.kind === 'rows' ? held.rows.map((text) => String((JSON.parse(text) as { id: string }).id)) : [],
    )
    for (const key of this.#world.keys(txn, table)) {
      const row = this.#world.row(txn, table, key)
      const text = JSON.stringify([key])
      const state = batch.state(TABLES[table], text)
      if (!row || !state?.outputs.some((output) => output.bucket === bucket)) continue
      ids.delete(key)
      batch.restate(TABLES[table], text, {
        ...state,
        outputs: state.outputs.filter((output) => output.bucket !== bucket),
      })
      batch.upsert(TABLES[table], text, row, imageOf(row))
    }
    for (const id of ids)
      batch.removeStray({ bucket, type: table, id, subkey: subkeyOf(TABLES[table], JSON.stringify([id])) })
    batch.announce(bucket)
  }

  /** Reads rows that lack values, and the tables that are to be compared, part by part. */
  async #compare(): Promise<void> {
    if (this.#comparing) return
    this.#comparing = true
    const { store, tables } = this.#life
    const session = this.#session
    while (this.#session === session) {
      const table = tables.find((each) => store.tables.copyState(each).state !== 'done')
      const lacking =
        table && this.#world.sim.chance(this.#world.torn ? 1 : 0.5)
          ? null
          : store.tables.incomplete(1 + this.#world.sim.int(2))
      if (lacking) await this.#read(session, lacking.table, (key) => lacking.keys.includes(JSON.stringify([key])), null)
      if (this.#session !== session) return
      if (table) {
        const copy = store.tables.copyState(table)
        const next: CopyState =
          copy.block === PARTS - 1 ? { ...copy, state: 'done' } : { ...copy, state: 'copying', block: copy.block + 1 }
        await this.#read(session, table, (key) => partOf(key) === copy.block, next)
      } else if (!lacking) {
        this.#comparing = false
        return
      }
    }
  }

  /** Nothing is read when the session has ended meanwhile. */
  async #read(
    session: number,
    of: FollowedTable,
    wanted: (key: string) => boolean,
    next: CopyState | null,
  ): Promise<void> {
    const { sim, source, torn } = this.#world
    const name = of.name as Change['table']
    // A read may have to wait for long, and the stream goes on meanwhile.
    for (let wait = torn ? sim.int(next === null ? 60 : 2) : 0; wait > 0; wait--) await sim.sleep()
    const snapshot = source.length
    await sim.sleep()
    if (this.#session !== session) return
    await new Promise<void>((done) => {
      this.#reading = { at: source.length, snapshot, name, table: of, wanted, next, done }
      this.#decodeLater()
    })
  }

  #endSession(): void {
    this.#session++
    this.#reading = null
    this.#comparing = false
  }

  /** What was read is right here, but for what the stream has told since. */
  #apply(batch: Batch, incomplete: Incomplete, { at, snapshot, name, table, wanted }: Reading): void {
    const { source } = this.#world
    const { rows, tables } = this.#life.store
    const touched = new Set(
      source
        .slice(snapshot, at)
        .flatMap(({ changes }) => changes.flatMap((each) => (each.table === name ? [each.key] : []))),
    )
    const stored = rows.keys(table.number, '', 1_000).map((key) => (JSON.parse(key) as string[])[0] ?? '')
    for (const key of new Set([...this.#world.keys(snapshot, name), ...stored])) {
      if (!wanted(key) || touched.has(key)) continue
      const row = this.#world.row(snapshot, name, key)
      if (row) batch.upsert(TABLES[name], JSON.stringify([key]), row, imageOf(row))
      else batch.remove(TABLES[name], JSON.stringify([key]))
    }
    for (const { keys } of [tables.incomplete(1_000)].flatMap((each) => each ?? []))
      for (const text of keys) {
        const key = (JSON.parse(text) as string[])[0] ?? ''
        if (wanted(key) && !touched.has(key)) settle(incomplete, table, text, false)
      }
  }

  #endHold(): void {
    const { store, committer } = this.#life
    const { state } = store
    const compared = isComparing(state.get('commit'))
    committer.endHold()
    if (!compared || isComparing(state.get('commit'))) return
    this.#world.boundaries.set(state.get('decode').counter, {
      transactions: this.#place.txn,
      plan: store.planStored as PlanHash,
    })
  }

  #decode(): void {
    const { sim, source, plan, torn } = this.#world
    const { store, committer, comparison } = this.#life
    const { state, rows, buckets, tables } = store
    const { counter } = state.get('decode')
    let { txn, part } = this.#place
    const reading = this.#reading?.at === txn && part === 0 ? this.#reading : null
    const isReady = !tables.copying && !tables.hasIncomplete
    const switches =
      !reading && isReady && store.planStored !== plan && part === 0 && (txn === source.length || sim.chance(0.5))
    const comparing = isComparing(state.get('commit'))
    if (switches) {
      committer.switchTo(plan, () => {})
      this.#stored(comparing)
      return
    }
    const batch = new Batch(counter, {
      evaluate: (table, row) => evaluate(table.name, row),
      states: ({ number, name }, keys) => rows.all(number, keys, name),
      number: (bucket, definition) => buckets.number(bucket, definition),
      skipped: () => {},
    })
    const incomplete: Incomplete = new Map()
    const mending = reading ? [] : this.#toMend
    for (const bucket of mending) this.#mend(batch, bucket)
    if (mending.length > 0) comparison.mended(batch.counter)
    if (reading) this.#apply(batch, incomplete, reading)
    const end = this.#reading?.at ?? source.length
    for (let take = reading || mending.length > 0 ? 0 : 1 + sim.int(3); take > 0 && txn < end; take--) {
      const transaction = source[txn]
      const changes = transaction?.changes.slice(part) ?? []
      // A slice of a huge transaction.
      const slice = changes.length > 1 && sim.chance(torn ? 0.8 : 0.4)
      if (slice) {
        changes.length = 1 + sim.int(changes.length - 1)
        part += changes.length
      }
      for (const each of changes) this.#change(batch, incomplete, each)
      if (slice) break
      if (transaction?.write) batch.deliver(transaction.write[0], transaction.write[1], BigInt(transaction.write[2]))
      txn++
      part = 0
    }
    const partial = part === 0 ? null : { lsn: String(txn + 1), xid: 0, changes: part }
    committer.store({ batch, position: positionOf(txn), partial, incomplete })
    this.#stored(comparing)
    if (!reading) return
    if (reading.next) tables.progress(reading.table, reading.next)
    this.#reading = null
    reading.done()
  }

  /**
   * What is stored now is a state of the source, unless it ends inside a transaction or rows lack values. `comparing`:
   * while it was stored rows were compared.
   */
  #stored(comparing: boolean): void {
    const { state, tables, planStored } = this.#life.store
    const { counter, partial } = state.get('decode')
    const isState = partial === null && !comparing && !tables.hasIncomplete
    if (isState) this.#world.boundaries.set(counter, { transactions: this.#place.txn, plan: planStored as PlanHash })
    this.#decodeLater()
  }

  /** A value that was left out is the one that was kept, if that is what the stream told last. */
  #change(batch: Batch, incomplete: Incomplete, { table, key: name, row, unsent }: Change): void {
    const key = JSON.stringify([name])
    const { store, tables } = this.#life
    const of = tables.find((each) => each.name === table)
    if (!of) return
    if (!row) batch.remove(TABLES[table], key)
    else if (!unsent) batch.upsert(TABLES[table], key, row, imageOf(row))
    else {
      const isIncomplete = incomplete.get(`${of.number} ${key}`)?.pending ?? store.tables.isIncomplete(of.number, key)
      const kept = store.tables.hasImages(of) && !isIncomplete
      const big = kept ? batch.state(TABLES[table], key)?.image?.big : undefined
      if (big === undefined) return settle(incomplete, of, key, true)
      batch.upsert(TABLES[table], key, { ...row, big }, imageOf({ ...row, big }))
    }
    settle(incomplete, of, key, false)
  }
}

/** One incarnation of the object, from one crash to the next. */
class Life {
  isOn = true
  store!: Store
  watchers!: Watchers
  fencing!: Fencing
  relays!: RelaySockets
  committer!: Committer
  tables!: FollowedTable[]
  readonly comparison = new SimComparison()
  readonly sockets = new Set<End<ReplicatorFrame, never>>()
  /** The append that is on its way to each bucket. */
  readonly sending = new Map<string, Sending>()

  /** What an incarnation was waiting for when it ended never comes. */
  own<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      work.then(
        (value) => this.isOn && resolve(value),
        (error: unknown) => this.isOn && reject(error),
      )
    })
  }

  end(): void {
    this.isOn = false
    for (const end of this.sockets) end.kill()
  }
}

/** Buckets that answer again are mended in one batch, and are as they should be when that is committed. */
class SimComparison {
  #now: { buckets: readonly number[]; mended: number | null } | null = null

  get running(): boolean {
    return this.#now !== null
  }

  get toMend(): readonly number[] {
    return this.#now?.mended === null ? this.#now.buckets : []
  }

  compareBuckets(buckets: readonly number[]): void {
    this.#now = { buckets, mended: null }
  }

  lacksAgain(bucket: number): void {
    if (this.#now?.buckets.includes(bucket)) this.#now = null
  }

  mended(counter: number): void {
    if (this.#now) this.#now.mended = counter
  }

  step(committed: number, compared: (buckets: readonly number[]) => void): void {
    const now = this.#now
    if (now === null || now.mended === null || now.mended > committed) return
    this.#now = null
    compared(now.buckets)
  }
}

/** A member of what is stored of the stream, as `SimReplicator` stores it. */
const decodeNumber = (stored: Decode['position'], member: string): number =>
  Number((stored && bareState(stored)[member]) ?? 0)

type Incomplete = Map<string, { table: FollowedTable; key: string; pending: boolean }>

function settle(incomplete: Incomplete, table: FollowedTable, key: string, pending: boolean): void {
  incomplete.set(`${table.number} ${key}`, { table, key, pending })
}

/** Behind so many transactions. */
const positionOf = (transactions: number): ToCommit['position'] => ({ lsn: String(transactions), xid: 0, time: '' })

interface Reading {
  /** Transactions before its place in the stream, and in its snapshot. */
  at: number
  snapshot: number
  name: Change['table']
  table: FollowedTable
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
